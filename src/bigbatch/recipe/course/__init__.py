"""The course of a training: where it is, and what follows from that: the minibatch's size, the rate, the end.

`course_of` makes the course that a recipe asks for; nobody else asks which one it is. The trainer drives it: `observe`
what the gradients tell, ask for the `learning_rate`, `advance` by an update, and `end_epoch` when one is over. All of
it is arithmetic on numbers that every process knows alike, and all of it can be saved and put back.
"""

from bigbatch.recipe.course.adascale import AdaScaleCourse
from bigbatch.recipe.course.choice import course_of, largest_size
from bigbatch.recipe.course.course import Course, Introduction
from bigbatch.recipe.course.fixed import FixedCourse
from bigbatch.recipe.course.growing import GrowingCourse
from bigbatch.recipe.course.state import NOISE_EVERY, CourseState

__all__ = [
    "NOISE_EVERY",
    "AdaScaleCourse",
    "Course",
    "CourseState",
    "FixedCourse",
    "GrowingCourse",
    "Introduction",
    "course_of",
    "largest_size",
]
