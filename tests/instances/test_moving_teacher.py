"""The teacher that is a moving average of its student, by hand on one weight."""

import pytest
import torch
from torch import nn

from segkit.runners.instances.moving_teacher import MovingTeacher


class Doubles(nn.Module):
    """Outputs weight x and, as a list, that and its double."""

    def __init__(self, weight: float):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, image):
        value = self.weight * image
        return {"mask_features": value, "kernels": [value, 2 * value]}


def taught(teacher: MovingTeacher, student: nn.Module) -> list[float]:
    image = torch.ones(1)
    outputs = teacher.outputs(image, student(image))
    assert list(outputs) == ["teacher.mask_features", "teacher.kernels"]
    values = [outputs["teacher.mask_features"], *outputs["teacher.kernels"]]
    assert not any(value.requires_grad for value in values)
    return [value.item() for value in values]


def test_the_average_begins_after_its_start():
    student, teacher = Doubles(1.0), MovingTeacher(0.9, start=1000)
    teacher.update(student, 999)
    student.weight.data.fill_(3.0)
    assert taught(teacher, student) == [3, 3, 6] and teacher.state_dict() == {}
    student.weight.grad = torch.tensor(1.0)
    teacher.update(student, 1000)
    assert teacher.ema.module.weight.grad is None
    student.weight.data.fill_(5.0)
    assert taught(teacher, student) == [3, 3, 6]
    teacher.update(student, 1001)
    assert taught(teacher, student) == pytest.approx([3.2, 3.2, 6.4])


def test_the_average_is_resumed():
    student, teacher = Doubles(3.0), MovingTeacher(0.9)
    teacher.update(student, 1000)
    student.weight.data.fill_(5.0)
    again = MovingTeacher(0.9)
    again.load_state_dict(teacher.state_dict(), Doubles(0.0))
    for one in (teacher, again):
        one.update(student, 1001)
        assert taught(one, student)[0] == pytest.approx(3.2)
    again.load_state_dict({}, student)
    assert taught(again, student)[0] == 5


def test_decays_and_steps_outside_their_range_are_refused():
    for decay, start in ((1.0, 0), (0.0, 0), (0.9, -1)):
        with pytest.raises(ValueError, match="the decay must be between 0 and 1"):
            MovingTeacher(decay, start)
