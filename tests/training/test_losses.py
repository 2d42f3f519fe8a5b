"""What a loss over classes has learned of them."""

from __future__ import annotations

import pytest

from cardigan_reco.encoders import networks
from cardigan_reco.training import losses
from cardigan_reco.training.losses import Batch, Column, LabelledLoss

torch = pytest.importorskip("torch")
pytest.importorskip("pytorch_metric_learning")

ASPECTS = {"kind": slice(0, 6), "colour": slice(6, 8), "design": slice(8, 16)}


def build(name: str, *columns: Column) -> torch.nn.Module:
    torch.manual_seed(0)
    return losses.build(
        name,
        columns,
        dimensions=16,
        aspects=ASPECTS,
        margin=0.05,
        contrast=0.5,
        temperature=0.125,
    )


def test_an_aspect_has_the_prototypes_of_its_first_softmax() -> None:
    loss = build(
        "softmax",
        Column("size", 3),
        Column("article", 5, "kind"),
        Column("section", 4, "kind"),
        Column("shade", 2, "colour"),
    )
    assert isinstance(loss, LabelledLoss)
    found = loss.prototypes()
    assert {aspect: tuple(rows.shape) for aspect, rows in found.items()} == {
        "kind": (5, 6),
        "colour": (2, 2),
    }
    for rows in found.values():
        assert rows.norm(dim=1).tolist() == pytest.approx([8] * len(rows), rel=1e-6)
        assert not rows.requires_grad
    learned = torch.nn.functional.normalize(loss.by_column[1].W.T)
    assert torch.allclose(found["kind"], learned * 8)


def test_classes_begin_at_the_means_of_their_pictures() -> None:
    """Cells may hold several classes or none; a class without a picture keeps its place."""
    loss = build(
        "softmax", Column("article", 3, "kind"), Column("words", 3, "design"), Column("size", 2)
    )
    before = [part.W.detach().clone() for part in loss.by_column]
    vectors = torch.nn.functional.normalize(torch.randn(4, 16))
    loss.imprint(
        vectors,
        {
            "article": torch.tensor([[0], [1], [0], [-1]]),
            "words": torch.tensor([[0, 1], [1, -1], [-1, -1], [2, 1]]),
            "size": torch.tensor([[1], [1], [1], [1]]),
        },
    )

    def mean(part: slice, *rows: int) -> torch.Tensor:
        return torch.nn.functional.normalize(vectors[list(rows), part].sum(0), dim=0)

    article, words, size = (part.W for part in loss.by_column)
    kind, design, whole = ASPECTS["kind"], ASPECTS["design"], slice(0, 16)
    assert torch.allclose(article[:, 0], mean(kind, 0, 2))
    assert torch.allclose(article[:, 1], mean(kind, 1))
    assert torch.equal(article[:, 2], before[0][:, 2])
    assert torch.allclose(words[:, 1], mean(design, 0, 1, 3))
    assert torch.allclose(words[:, 2], mean(design, 3))
    assert torch.allclose(size[:, 1], mean(whole, 0, 1, 2, 3))
    assert torch.equal(size[:, 0], before[2][:, 0])
    assert article.requires_grad


def test_prototypes_give_the_chances_that_the_softmax_learned() -> None:
    """A picture's loss is the logarithm of the chance that a settled part gives its class."""
    loss = build("softmax", Column("article", 5, "kind"))
    own = torch.nn.functional.normalize(torch.randn(7, 6))
    labels = torch.arange(7) % 5
    rows = loss.prototypes()["kind"]
    wanted = torch.nn.functional.cross_entropy(own @ rows.T, labels)
    assert loss.by_column[0](own, labels).item() == pytest.approx(wanted.item(), rel=1e-5)


@pytest.mark.parametrize("name", [name for name in losses.LABELLED if name != "softmax"])
def test_other_losses_have_no_prototypes(name: str) -> None:
    assert build(name, Column("article", 5, "kind")).prototypes() == {}


def test_a_network_takes_the_prototypes_and_gives_what_they_taught() -> None:
    """Pictures that are as their classes' prototypes lie where these do, one place a class."""
    loss = build("softmax", Column("article", 3, "kind"))
    network = networks.build("AspectNet", trunk="mobilenet_v3_small", dimensions=16).eval()
    assert network.aspects == ASPECTS
    network.trunk = network.embedding = network.norm = torch.nn.Identity()
    vectors = torch.randn(4, 16)
    optimizer = torch.optim.Adam([vectors.requires_grad_(), *loss.parameters()], 0.1)
    labels = torch.tensor([0, 1, 1, 2])
    batch = Batch({"article": labels}, torch.arange(4), torch.arange(4))
    for _ in range(100):
        optimizer.zero_grad()
        loss(network(vectors), batch).backward()
        optimizer.step()
    network.settle(loss.prototypes())
    kind = torch.nn.functional.normalize(network(vectors)[:, :6].detach())
    cosines = kind @ kind.T
    assert cosines[1, 2] > 0.99
    assert cosines[0, 1] < 0.5
    assert cosines[1, 3] < 0.5


def triplet_batch(*degrees: float) -> torch.Tensor:
    """Returns unit vectors in a plane: queries, positives, negatives."""
    radians = torch.deg2rad(torch.tensor(degrees, dtype=torch.float32))
    return torch.stack([radians.cos(), radians.sin()], 1)


NOTHING = Batch({}, torch.empty(0), torch.empty(0))


def test_the_hinge_is_what_a_negative_lacks_of_the_margin() -> None:
    """Chords: 1 at 60 degrees, the root of 2 at 90."""
    far_enough = losses.HingeLoss(0.05)(triplet_batch(0, 60, 90), NOTHING)
    assert float(far_enough) == 0
    too_near = losses.HingeLoss(0.05)(triplet_batch(0, 90, 60), NOTHING)
    assert float(too_near) == pytest.approx(0.05 + 2**0.5 - 1)
    both = losses.HingeLoss(0.05)(triplet_batch(0, 0, 60, 90, 90, 60), NOTHING)
    assert float(both) == pytest.approx((0.05 + 2**0.5 - 1) / 2)


def test_softpn_takes_the_nearer_of_the_query_s_and_the_positive_s_negative() -> None:
    """arXiv 1601.05030; the negative is 1 from the positive, and 3 ** .5 from the query."""
    found = losses.SoftPN()(triplet_batch(0, 60, 120), NOTHING)
    share = torch.softmax(torch.tensor([1.0, 1.0]), 0)
    assert float(found) == pytest.approx(float(2 * share[0] ** 2))
    assert float(losses.SoftPN()(triplet_batch(0, 0, 180), NOTHING)) < 0.05


@pytest.mark.parametrize("name", losses.LOSSES)
def test_every_loss_teaches_what_belongs_together(name: str) -> None:
    torch.manual_seed(3)
    labels = torch.arange(12) % 3
    loss = build(name, Column("article", 3))
    free = torch.randn(12, 16, requires_grad=True)
    optimizer = torch.optim.Adam([free, *loss.parameters()], lr=0.05)

    def hinge_accuracy() -> float:
        unit = torch.nn.functional.normalize(free.detach())
        near = unit @ unit.T
        same = labels[:, None] == labels
        right = [
            near[row, one] > near[row, other]
            for row in range(12)
            for one in same[row].nonzero()[:, 0].tolist()
            for other in (~same[row]).nonzero()[:, 0].tolist()
            if one != row
        ]
        return float(torch.stack(right).float().mean())

    assert hinge_accuracy() < 0.8
    for step in range(150):
        vectors = torch.nn.functional.normalize(free)
        if name in losses.TRIPLET:
            queries = torch.arange(12)
            positives = (queries + (3, 6, 9)[step % 3]) % 12
            negatives = (queries + (1, 2, 4, 5, 7, 8, 10, 11)[step % 8]) % 12
            vectors = vectors[torch.cat([queries, positives, negatives])]
        found = loss(vectors, Batch({"article": labels}, labels, labels))
        optimizer.zero_grad()
        found.backward()
        optimizer.step()
    assert hinge_accuracy() > 0.95
