-- ground_truth(u, f, lambda): GT, half the harmonic mean of lambda U and F (Rizwan et al. 2024, Eq.
-- 4); 0, its limit, where U <= 0 or F <= 0: one of the two aims failed outright. NULL where U or F
-- is not a finite number.
create macro ground_truth(u, f, lam) as
    case
        when u is null or f is null or lam is null then null
        when not (isfinite(u) and isfinite(f)) then null
        when u <= 0 or f <= 0 then 0.0
        else lam * u * f / (lam * u + f)
    end
