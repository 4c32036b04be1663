-- is_damaged(points_lost, max_loss := 5): whether a network lost more than `max_loss` percentage
-- points of test accuracy; NULL where its accuracy is not known. A reading of the result: it
-- changes nothing of the attempt.
create macro is_damaged(points_lost, max_loss := 5) as round(points_lost, 9) > max_loss
