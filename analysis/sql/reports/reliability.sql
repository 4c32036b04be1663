-- How far GT agrees with itself over repeats, all there are.
from reliability
