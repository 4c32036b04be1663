-- provider_of(tags, algorithm): who brings an algorithm, as the tags of its run say; NULL where it
-- is ours.
create macro provider_of(tags, algorithm) as json_extract_string(
    try_cast(tags['algorithm_providers'] as json), '$."' || algorithm || '"'
)
