-- find_sweep(reference): the run id of a sweep, by what commands take for one: its name, the
-- beginning of its run id, or 'latest', of those that no study made the one that began last. An
-- error where there is none, or more than one.
-- example: select sweep_id, sweep from sweeps where sweep_id = find_sweep('latest')
create macro find_sweep(reference) as (
    select
        case count(*)
            when 1 then any_value(sweep_id)
            else error(count(*) || ' sweeps are called ''' || reference || ''': see from sweeps')
        end
    from (
        select sweep_id
        from sweeps
        where
            case
                when reference = 'latest' then study is null
                else sweep = reference or starts_with(sweep_id, reference)
            end
        qualify
            rank() over (
                order by
                    sweep_id = reference desc, sweep = reference desc,
                    case when reference = 'latest' then started_at end desc,
                    case when reference = 'latest' then sweep_id end
            ) = 1
    ) as meant
)
