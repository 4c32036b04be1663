-- The experiments of this tool, deleted ones too, in the order in which they were made, each with
-- the value of a tag: the first one says whose database it is.
select
    e.name, e.artifact_location,
    (
        select t.value from experiment_tags as t
        where t.experiment_id = e.experiment_id and t.key = :tag
    ) as tag
from experiments as e
where e.name like 'indelible/%'
order by e.experiment_id
