-- ending(status, points_lost, max_loss := 5): how an attempt ended: its status, or 'damaged' where
-- it flipped, but lost more than `max_loss` percentage points of test accuracy.
create macro ending(status, points_lost, max_loss := 5) as if(
    status = 'flipped' and coalesce(is_damaged(points_lost, max_loss := max_loss), false),
    'damaged', status
)
