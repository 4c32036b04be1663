-- ending(status, points_lost, max_loss := 5): how an attempt ended: its status, or 'damaged' where
-- it came where it was to end, but lost more than `max_loss` percentage points of test accuracy.
create macro ending(status, points_lost, max_loss := 5) as case
    when has_arrived(status) and is_damaged(points_lost, max_loss := max_loss) then 'damaged'
    else status
end
