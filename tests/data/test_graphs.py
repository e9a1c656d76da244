"""Graphs by name and from files, and links set apart."""

import gzip
import importlib.util

import pytest
import torch

from probgen import recipes
from probgen.data import graph, graphs, split_links


def written(tmp_path, text):
    path = tmp_path / "friends.csv"
    path.write_text(text)
    return path


def test_les_miserables():
    found = graph("les-miserables")
    assert found.x.shape == (77, 77)
    assert torch.equal(found.x, found.x.T)
    assert int(found.x.sum()) == 2 * 254
    assert not found.x.diagonal().any()
    degrees = dict(zip(found.nodes, found.x.sum(1).tolist(), strict=True))
    assert max(degrees, key=degrees.get) == "Valjean"
    assert degrees["Valjean"] == 36
    assert degrees["Napoleon"] == 1


def test_air_routes():
    found = graph("air-routes")
    assert found.x.shape == (352, 352)
    assert torch.equal(found.x, found.x.T)
    assert int(found.x.sum()) == 2 * 3017
    assert not found.x.diagonal().any()
    place = {node: i for i, node in enumerate(found.nodes)}
    assert found.x[place["ATL"], place["ORD"]] == 1
    assert found.x[place["HNL"], place["ABE"]] == 0
    task = recipes.load("air-routes")
    assert int(task.train.x.sum()) == 2 * (3017 - 302)
    assert not (task.train.seen & task.test.seen).any()


def test_air_routes_where_the_extra_is_missing(monkeypatch):
    monkeypatch.setattr(graphs, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs bokeh_sampledata, .* pip install 'probgen\[graphs\]'"):
        graph("air-routes")


def test_air_routes_of_another_version(monkeypatch, tmp_path):
    spec = importlib.util.spec_from_file_location(
        "b", tmp_path / "__init__.py", submodule_search_locations=[]
    )
    spec.submodule_search_locations.append(str(tmp_path))
    monkeypatch.setattr(graphs, "find_spec", lambda name: spec)
    with pytest.raises(ValueError, match=r"should lie at .* but do not"):
        graph("air-routes")
    (tmp_path / "_data").mkdir()
    with gzip.open(tmp_path / "_data" / "routes.csv.gz", "wt") as file:
        file.write("Source,Destination\nNA,B\nB,NA\nB,C\nC,C\n")
    with pytest.raises(ValueError, match=r"should have 352 nodes .* has 3 and 2"):
        graph("air-routes")


def test_links_of_ones_own_are_a_task(tmp_path):
    """Of a ring of twenty two links are test, and neither they nor pairs beside them are learned from."""
    lines = [f"n{i},n{(i + 1) % 20},{i}" for i in range(20)]
    path = written(tmp_path, "from,to,weight\n" + "\n".join(lines) + "\n")
    task = recipes.load(path, kinds="from=node,to=node")
    assert (task.kind, task.name, task.train.x.shape) == ("graph", "friends", (1, 20, 20))
    assert int(task.train.x.sum()) == 2 * 18
    assert int(task.test.seen.sum()) == 2 * 6
    assert not (task.train.seen & task.test.seen).any()
    assert task.facts["file"] == str(path)
    for words in ("from=node", "from=node,to=node,weight=real", "from=node,to=node,weight=node"):
        with pytest.raises(ValueError, match="two columns of kind 'node'"):
            recipes.load(path, kinds=words)


def test_a_graph_of_too_many_nodes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(graphs, "MOST_NODES", 3)
    with pytest.raises(ValueError, match="at most 3 nodes but has 4: take a part"):
        graph(written(tmp_path, "a,b\nu,v\nw,x\n"))


def test_a_file_of_links(tmp_path):
    found = graph(written(tmp_path, "from,to\nb,a\nb,c\na,b\n"))
    assert found.nodes == ["a", "b", "c"]
    assert found.x.tolist() == [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    assert found.name == "friends"
    weighted = written(tmp_path, "weight;from;to\n1,5;7;8\n2,5;8;10\n")
    assert graph(weighted, ends=("from", "to")).nodes == ["10", "7", "8"]


@pytest.mark.parametrize(
    ("text", "ends", "words"),
    [
        ("a,b,w\nu,v,1\n", None, r"should have two columns, the ends of a link, .* ends=\('from', 'to'\)"),
        ("a,b\nu,v\n", ("a", "c"), "should have the column 'c'"),
        ("a,b\nu,v\nu,\n", None, "column 'b' misses one in row 2"),
        ("a,b\n1,1.5\n2,2.5\n", None, "words or whole numbers but column 'b' .* holds"),
        ("a,b\n1,u\n2,v\n", None, "'a' holds numbers alone: put a letter"),
        ("a,b\nu,1\nv,2\n", None, "'b' holds numbers alone: put a letter"),
        ("a,b\nu,v\nw,w\n", None, "linked to itself but 'w'"),
        ("a,b\nu,v\n", None, "at least 3 nodes but has 2"),
    ],
)
def test_a_file_that_is_no_graph_is_refused(tmp_path, text, ends, words):
    with pytest.raises(ValueError, match=words):
        graph(written(tmp_path, text), ends=ends)


def test_a_graph_that_is_not_known_is_refused(tmp_path):
    with pytest.raises(ValueError, match="there is no graph 'les-miserable': did you mean 'les-miserables'"):
        graph("les-miserable")
    with pytest.raises(ValueError, match="there is no file"):
        graph(tmp_path / "none.csv")
    with pytest.raises(ValueError, match="ends are columns of a CSV"):
        graph("les-miserables", ends=("a", "b"))


def pairs_of(*parts):
    return [tuple(pair) for part in parts for pair in part.tolist()]


@pytest.mark.parametrize("seed", range(3))
def test_nothing_that_is_set_apart_is_left(seed):
    x = graph("les-miserables").x
    split = split_links(x, valid=0.05, test=0.1, seed=seed)
    assert [len(part) for part in (*split.test, *split.valid)] == [25] * 3 + [13] * 3
    valid, test = pairs_of(*split.valid), pairs_of(*split.test)
    assert not set(valid) & set(test)
    for part in (split.valid, split.test):
        assert all(len(set(pairs_of(pairs))) == len(pairs) for pairs in part)
        assert all(x[i, j] == 1 for i, j in pairs_of(part.links))
        assert all(x[i, j] == 0 and i < j for i, j in pairs_of(part.uniform, part.matched))
    apart = torch.eye(77, dtype=torch.bool)
    for i, j in valid + test:
        apart[i, j] = apart[j, i] = True
    assert torch.equal(split.seen, ~apart)
    assert torch.equal(split.x, x * split.seen)
    again = split_links(x, valid=0.05, test=0.1, seed=seed)
    assert torch.equal(again.x, split.x)
    assert not torch.equal(split_links(x, seed=seed + 10).x, split_links(x, seed=seed).x)


def test_matched_pairs_have_the_degrees_of_links_and_uniform_ones_have_not():
    x = graph("les-miserables").x
    degrees = x.sum(1)
    splits = [split_links(x, test=0.1, seed=seed) for seed in range(20)]
    links, uniform, matched = (
        torch.cat([degrees[pairs].prod(1) for pairs in kind]).log().mean()
        for kind in zip(*(split.test for split in splits), strict=True)
    )
    assert links - uniform > 1.0
    assert (links - matched).abs() < 0.5


def test_draws_without_links_are_uniform():
    """Of a path of four nodes three pairs have no link; each is drawn equally often."""
    path = torch.diag(torch.ones(3), 1)
    path = path + path.T
    drawn = [tuple(split_links(path, test=0.3, seed=seed).test.uniform[0].tolist()) for seed in range(600)]
    counts = [drawn.count(pair) for pair in ((0, 2), (0, 3), (1, 3))]
    assert sum(counts) == 600
    assert max(abs(count - 200) for count in counts) < 52  # 4.5 standard errors
    matched = [tuple(split_links(path, test=0.3, seed=seed).test.matched[0].tolist()) for seed in range(600)]
    counts = [matched.count(pair) for pair in ((0, 2), (0, 3), (1, 3))]
    for count, share in zip(counts, (2 / 5, 1 / 5, 2 / 5), strict=True):  # deg(i) deg(j) = 2, 1, 2
        assert abs(count - 600 * share) < 4.5 * (600 * share * (1 - share)) ** 0.5


@pytest.mark.parametrize(
    ("x", "shares", "words"),
    [
        (torch.zeros(3, 4), {}, r"x should be \(n, n\)"),
        (torch.full((3, 3), 0.5), {}, "x should hold 0 and 1"),
        (torch.eye(4), {}, "and 0 on its diagonal"),
        (torch.ones(4, 4).triu(1), {}, "x should be symmetric"),
        (torch.ones(4, 4) - torch.eye(4), {}, "there should be 1 pairs for test, uniform, but there are 0"),
        (graph("les-miserables").x, {"test": 1.0}, r"test should be a share of links in \[0, 1\) but is 1.0"),
        (graph("les-miserables").x, {"test": 0.6, "valid": 0.4}, "should leave links to learn from"),
    ],
)
def test_a_split_that_cannot_be_is_refused(x, shares, words):
    with pytest.raises(ValueError, match=words):
        split_links(x, seed=0, **shares)
