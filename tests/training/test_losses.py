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
