-- interval_by(low, jackknife): how the interval of a rho was made, whose lower end is `low`.
-- jackknife: the ends that the jackknife gave, NULL where it was not asked or gave none.
create macro interval_by(low, jackknife) as
    case when low is not null then if(jackknife is null, 'bonett-wright', 'jackknife') end
