-- stepped_up(r, parts): the reliability of the mean of `parts` parallel measurements whose
-- correlation is r (Spearman 1910, Brown 1910). NULL where r is so far below zero that there is
-- none.
create macro stepped_up(r, parts) as
    case when 1 + (parts - 1) * r > 0 then parts * r / (1 + (parts - 1) * r) end
