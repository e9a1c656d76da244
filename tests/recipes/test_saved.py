"""Models saved and loaded: from a file, from a training's folder, from a run; and what is refused."""

import json
from functools import partial

import pytest
import torch
from torch import nn

import probgen as pg
from probgen import data, nets, recipes
from probgen.models import VAE
from probgen.recipes.run_folder import with_digest, write_about
from probgen.training import checkpoint


def vae(hidden=8):
    return VAE(
        nets.NormalHead(nets.MLP(3, 1, hidden=(hidden,))), nets.NormalHead(nets.MLP(1, 3, hidden=(hidden,)))
    )


def same(one, other):
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_a_file_gives_the_model_back(tmp_path):
    model = vae()
    path = pg.save(model, str(tmp_path / "new" / "vae.safetensors"))
    assert path == tmp_path / "new" / "vae.safetensors"
    assert [p.name for p in path.parent.iterdir()] == ["vae.safetensors"]
    loaded = pg.load(str(path), vae)
    assert same(loaded, model)
    assert not loaded.training
    own = vae()
    assert pg.load(path, own) is own
    assert torch.equal(own.sample(5, seed=0), model.sample(5, seed=0))


class WithState(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))
        self.words = ["a"]

    def get_extra_state(self):
        return {"words": self.words}

    def set_extra_state(self, state):
        self.words = state["words"]


def test_extra_state_is_kept(tmp_path):
    model = WithState()
    model.words = ["b", "c"]
    assert pg.load(pg.save(model, tmp_path / "model.pt"), WithState).words == ["b", "c"]


def trained(folder, **options):
    torch.manual_seed(0)
    model, x = vae(), torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    settings = {"steps": 60, "batch_size": 50, "seed": 0, "progress": False, "compile": "eager"} | options
    adam = partial(torch.optim.Adam, lr=0.3)  # so fast that the last weights are not the best
    pg.fit(pg.SVI(model), x, optimizer=adam, validation=x[:50], checkpoint=folder, **settings)
    return model


@pytest.mark.parametrize("options", [{}, {"patience": 3}])
def test_the_model_in_hand_after_fit_is_the_one_that_load_gives(options, tmp_path):
    model = trained(tmp_path / "run", **options)
    best, last = pg.load(tmp_path / "run", vae), pg.load(str(tmp_path / "run"), vae, name="last")
    assert not same(best, last)
    assert same(best, model)
    objective = pg.SVI(vae())
    assert pg.load(tmp_path / "run", objective) is objective
    assert same(objective.pair, model)


def test_without_a_folder_the_last_weights_are_in_hand(tmp_path):
    assert same(trained(None), pg.load(with_folder(tmp_path), vae, name="last"))


def with_folder(path):
    trained(path / "run")
    return path / "run"


@pytest.mark.parametrize("name", ["vae", "gmmn"])
def test_a_run_is_loaded_by_its_recipe(name, tmp_path):
    task = recipes.load("banana").holding_out()
    torch.manual_seed(0)
    recipe = recipes.make(name, task)
    recipes.train(recipe, task, seed=0, folder=tmp_path / "run", steps=3, batch_size=32, progress=False)
    write_about(tmp_path / "run", {"model": name, "data": "banana", "seed": 0})
    state = torch.get_rng_state()
    model = pg.load(tmp_path / "run")
    assert torch.equal(torch.get_rng_state(), state)
    assert type(model) is type(recipe.model)
    assert same(model, recipe.model)
    assert torch.equal(model.sample(4, seed=1), recipe.model.sample(4, seed=1))


def test_a_run_on_a_file_that_has_changed_is_refused(tmp_path):
    path = tmp_path / "my.csv"
    rows = "\n".join(f"{i * 7 % 11}.5,{'ab'[i % 2]}" for i in range(60))
    path.write_text(f"x,k\n{rows}\n")
    task = recipes.load(path).holding_out()
    recipe = recipes.make("vae", task)
    recipes.train(recipe, task, seed=0, folder=tmp_path / "run", steps=2, batch_size=8, progress=False)
    about = with_digest({"model": "vae", "data": str(path), "seed": 0})
    assert about["sha256"] == data.digest_of(path)
    write_about(tmp_path / "run", about)
    assert same(pg.load(tmp_path / "run"), recipe.model)
    path.write_text(f"x,k\n{rows}\n2.5,a\n")
    with pytest.raises(
        ValueError, match=r"learned from .*my\.csv as it was \(SHA-256 .*, but it has changed"
    ):
        pg.load(tmp_path / "run")
    path.unlink()
    with pytest.raises(ValueError, match=r"learned from .*my\.csv, which is not there"):
        pg.load(tmp_path / "run")


def test_what_does_not_fit_is_one_sentence(tmp_path):
    path = pg.save(vae(), tmp_path / "vae.safetensors")
    refusals = {
        lambda: pg.load(tmp_path / "no"): "there is no file or folder",
        lambda: pg.load(path): r"holds weights but not what they are of: give the model, .* make_model\)",
        lambda: pg.load(
            path, lambda: vae(9)
        ): r"those of VAE but .* has shape \(8, 3\) there and \(9, 3\) in",
        lambda: pg.load(path, lambda: nets.MLP(3, 1)): r"those of MLP but 'body.2.weight' is not among them",
        lambda: pg.load(path, lambda: nn.Identity()): "is none of its weights: make the model as it was",
        lambda: pg.save(vae(), tmp_path): "path should be a file but .* is a folder",
        lambda: pg.load(tmp_path, vae): "should be a run folder but holds no checkpoint.json",
    }
    for call, sentence in refusals.items():
        with pytest.raises(ValueError, match=sentence):
            call()
    for call, sentence in {
        lambda: pg.load(path, VAE): r"VAE cannot be made without arguments .* such as lambda: VAE\(\.\.\.\)",
        lambda: pg.load(path, lambda: 3): "should make a torch.nn.Module but makes a int",
        lambda: pg.load(path, "VAE"): "should be a module, or what makes one, but is a str",
        lambda: pg.save(vae().state_dict(), path): "model should be a torch.nn.Module but is a OrderedDict",
    }.items():
        with pytest.raises(TypeError, match=sentence):
            call()
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match=r"should be a file that probgen.save wrote but cannot be read"):
        pg.load(path, vae)


def test_nothing_in_a_file_is_executed(tmp_path):
    class Harm:
        def __reduce__(self):
            return (exec, ("raise SystemExit('executed')",))

    torch.save({"weight": Harm()}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="cannot be read"):
        pg.load(tmp_path / "model.pt", vae)


def test_a_damaged_checkpoint_is_named(tmp_path):
    folder = with_folder(tmp_path)
    (weights,) = folder.glob("best-*/weights.safetensors")
    weights.write_bytes(weights.read_bytes()[:-3] + b"abc")
    with pytest.raises(ValueError, match=r"is damaged: .* does not match its SHA-256"):
        pg.load(folder, vae)
    assert json.loads((folder / checkpoint.INDEX).read_text()).keys() == {"last", "best"}


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.critic, self.generator = nn.Linear(2, 1), nn.Linear(2, 1)


def test_one_of_two_nets_of_one_architecture_is_not_taken_for_the_other(tmp_path):
    path = pg.save(Two(), tmp_path / "two.safetensors")
    with pytest.raises(ValueError, match=r"hold the model once but 'critic' and 'generator' are of its arch"):
        pg.load(path, partial(nn.Linear, 2, 1))
    assert isinstance(pg.load(path, Two), Two)
    alike = Two()
    alike.critic.load_state_dict(alike.generator.state_dict())
    path = pg.save(alike, tmp_path / "alike.safetensors")
    assert same(pg.load(path, partial(nn.Linear, 2, 1)), alike.generator)


class Scale(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.register_buffer("scale", torch.tensor(value))


def test_fractions_are_not_cut_to_whole_numbers(tmp_path):
    path = pg.save(Scale(2.7), tmp_path / "scale.safetensors")
    with pytest.raises(ValueError, match=r"'scale' is torch.float32 there and torch.int64 in the model"):
        pg.load(path, partial(Scale, 2))
    assert float(pg.load(path, lambda: Scale(0.0).double()).scale) == pytest.approx(2.7)
