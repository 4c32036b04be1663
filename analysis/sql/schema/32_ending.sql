-- ending(status, points_lost, max_loss := 5): how an attempt ended: its status, or 'damaged' where
-- it flipped, but lost more than `max_loss` percentage points of test accuracy.
create macro ending(status, points_lost, max_loss := 5) as case
    when status = 'flipped' and is_damaged(points_lost, max_loss := max_loss) then 'damaged'
    else status
end
