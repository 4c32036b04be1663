-- internal.paper_table: one row per number of the paper's Table 1 (Rizwan et al. 2024), under our
-- names of its factors.
-- metric: the paper's name of the factor.
-- paper_p_value: the p-value that the paper gives.
-- paper_n: the paper's number of samples.
-- example: select algorithm, factor, paper_rho from internal.paper_table where against = 'svhn'
create table internal.paper_table as
with name as (
    from (
        values
        ('Test Accuracy (TPS)', 'test_accuracy'),
        ('Model Distance - KL (DPS)', 'model_distance_kl'),
        ('Model Distance - Absolute (DPS)', 'model_distance_abs'),
        ('Forget Predictive Probability Difference', 'forget_prob_diff'),
        ('Test Predictive Probability Difference', 'test_prob_diff'),
        ('Forget Loss Difference', 'forget_loss_diff'),
        ('Test Loss Difference', 'test_loss_diff'),
        ('Elapsed Time (NUE)', 'elapsed_s'),
        ('Epochs Elapsed (NUE)', 'steps')
    ) as ours (metric, factor)
)
select
    t.dataset as against, t.algorithm, n.factor, t.metric, t.spearman as paper_rho,
    t.p_value as paper_p_value, 1000 as paper_n,
    case
        when (t.dataset, t.algorithm, n.factor) = ('svhn', 'ga', 'test_loss_diff')
            then 'probably a copy error: repeats the row of model_distance_abs'
    end as remark,
    n.factor in ('test_accuracy', 'test_loss_diff', 'test_prob_diff') as is_u
from staging.table1 as t
join name as n on n.metric = t.metric
