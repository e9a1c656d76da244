"""The peers of the Markov-chain benchmark that run on JAX: NumPyro, BlackJAX, emcee on a JAX density.

The eleven posteriors are written as NumPyro's documentation would have them: recurrences by ``lax.scan``, a
mixture summed out by hand. All run in float64, as the Pyro models do.
"""

import warnings

import blackjax
import emcee
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
from jax.scipy.special import logsumexp
from numpyro.distributions import constraints
from numpyro.infer import MCMC, NUTS
from numpyro.infer.util import initialize_model

from tests.posteriors import read

jax.config.update("jax_enable_x64", True)
warnings.filterwarnings("ignore", category=FutureWarning)


def flat(support, *event):
    return dist.ImproperUniform(support, (), event)


def schools(y, sigma):
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    tau = numpyro.sample("tau", dist.HalfCauchy(5))
    t = numpyro.sample("t", dist.Normal(0, 1).expand([8]))
    theta = numpyro.deterministic("theta", mu + tau * t)
    numpyro.sample("y", dist.Normal(theta, sigma), obs=y)


def regression(x, y, prior, scale):
    beta, sigma = numpyro.sample("beta", prior), numpyro.sample("sigma", scale)
    numpyro.sample("y", dist.Normal(x @ beta, sigma), obs=y)


def line(x, y, location, spread):
    alpha = numpyro.sample("alpha", dist.Normal(location[0], spread[0]))
    beta = numpyro.sample("beta", dist.Normal(location[1], spread[1]))
    sigma = numpyro.sample("sigma", flat(constraints.positive))
    numpyro.sample("y", dist.Normal(alpha + beta * x, sigma), obs=y)


def autoregression(x, y):
    alpha = numpyro.sample("alpha", dist.Normal(0, 10))
    beta = numpyro.sample("beta", dist.Normal(0, 10).expand([x.shape[1]]))
    sigma = numpyro.sample("sigma", dist.HalfCauchy(2.5))
    numpyro.sample("y", dist.Normal(alpha + x @ beta, sigma), obs=y)


def arma(y):
    mu = numpyro.sample("mu", dist.Normal(0, 10))
    phi, theta = (numpyro.sample(name, dist.Normal(0, 2)) for name in ("phi", "theta"))
    sigma = numpyro.sample("sigma", dist.HalfCauchy(2.5))

    def next_error(error, pair):
        error = pair[1] - mu - phi * pair[0] - theta * error
        return error, error

    first = y[0] - mu - phi * mu
    _, errors = jax.lax.scan(next_error, first, (y[:-1], y[1:]))
    errors = jnp.concatenate([first[None], errors])
    numpyro.factor("errors", dist.Normal(0, sigma).log_prob(errors).sum())


def garch(y, first):
    mu = numpyro.sample("mu", flat(constraints.real))
    alpha0 = numpyro.sample("alpha0", flat(constraints.positive))
    alpha1 = numpyro.sample("alpha1", dist.Uniform(0, 1))
    beta1 = numpyro.sample("beta1", dist.Uniform(0, 1 - alpha1))
    numpyro.factor("flat", jnp.log1p(-alpha1))

    def next_variance(variance, before):
        variance = alpha0 + alpha1 * (before - mu) ** 2 + beta1 * variance
        return variance, variance

    _, variances = jax.lax.scan(next_variance, first**2, y[:-1])
    variances = jnp.concatenate([first[None] ** 2, variances])
    numpyro.sample("y", dist.Normal(mu, jnp.sqrt(variances)), obs=y)


def gaussian_process(x, y):
    rho = numpyro.sample("rho", dist.Gamma(25, 4))
    alpha = numpyro.sample("alpha", dist.HalfNormal(2))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1))
    kernel = alpha**2 * jnp.exp(-0.5 * ((x - x[:, None]) / rho) ** 2)
    law = dist.MultivariateNormal(jnp.zeros_like(x), kernel + sigma * jnp.eye(len(x)))
    numpyro.sample("y", law, obs=y)


def mixture(y):
    mu = numpyro.sample("mu", flat(constraints.ordered_vector, 2))
    numpyro.factor("mu_prior", dist.Normal(0, 2).log_prob(mu).sum())
    sigma = numpyro.sample("sigma", dist.HalfNormal(2).expand([2]))
    theta = numpyro.sample("theta", dist.Beta(5, 5))
    weights = jnp.log(jnp.stack([theta, 1 - theta]))
    each = weights + dist.Normal(mu, sigma).log_prob(y[:, None])
    numpyro.factor("y", logsumexp(each, -1).sum())


def model(name):
    """Return a posterior's model and its arguments."""
    data = read(name, "data")

    def number(*names):
        return [jnp.asarray(data[name], dtype=jnp.float64) for name in names]

    flat_scale = flat(constraints.positive)
    if name.startswith("eight_schools"):
        return schools, number("y", "sigma")
    if name == "sblri-blr":
        return regression, [*number("X", "y"), dist.Normal(0, 10).expand([data["D"]]), dist.HalfNormal(10)]
    if name.startswith("kidiq"):
        y, high_school, iq = number("kid_score", "mom_hs", "mom_iq")
        x = jnp.stack([jnp.ones_like(y), high_school, iq, high_school * iq], 1)
        return regression, [x, y, flat(constraints.real_vector, 4), dist.HalfCauchy(2.5)]
    if name.startswith("mesquite"):
        y, *columns = number("weight", "diam1", "diam2", "canopy_height", "total_height", "density", "group")
        x = jnp.stack([jnp.ones_like(y), *columns], 1)
        return regression, [x, y, flat(constraints.real_vector, 7), flat_scale]
    if name.startswith("nes"):
        y, age, ideo, race, *rest = number(
            "partyid7", "age_discrete", "real_ideo", "race_adj", "educ1", "gender", "income"
        )
        x = jnp.stack([jnp.ones_like(y), ideo, race, *((age == k) * 1.0 for k in (2, 3, 4)), *rest], 1)
        return regression, [x, y, flat(constraints.real_vector, 9), flat_scale]
    if name.startswith("kilpisjarvi"):
        location, spread = number("pmualpha", "pmubeta"), number("psalpha", "psbeta")
        return line, [*number("x", "y"), location, spread]
    if name == "arK-arK":
        (y,), k = number("y"), data["K"]
        return autoregression, [jnp.stack([y[k - j : len(y) - j] for j in range(1, k + 1)], 1), y[k:]]
    if name.startswith("arma"):
        return arma, number("y")
    if name.startswith("garch"):
        return garch, number("y", "sigma1")
    if name.startswith("gp"):
        return gaussian_process, number("x", "y")
    return mixture, number("y")


def numpyro_nuts(name, *, chains, warmup, draws):
    """NumPyro's NUTS, all chains vectorised."""
    story, arguments = model(name)
    sampler = MCMC(
        NUTS(story),
        num_warmup=warmup,
        num_samples=draws,
        num_chains=chains,
        chain_method="vectorized",
        progress_bar=False,
    )
    sampler.run(jax.random.PRNGKey(0), *arguments)
    found = jax.block_until_ready(sampler.get_samples(group_by_chain=True))
    return {site: np.asarray(value) for site, value in found.items()}


def potential(name, chains):
    """Return log-density on the unconstrained scale, starting points, and the way back to named values."""
    story, arguments = model(name)
    keys = jax.random.split(jax.random.PRNGKey(0), chains)
    start, energy, named, _ = initialize_model(
        keys, story, model_args=tuple(arguments), dynamic_args=True, validate_grad=False
    )
    return start.z, lambda z: -energy(*arguments)(z), named(*arguments)


def _constrained(named, positions):
    """Map positions by site, [chain, draw, ...], to named values."""
    return {site: np.asarray(value) for site, value in jax.jit(jax.vmap(jax.vmap(named)))(positions).items()}


def blackjax_nuts(name, *, chains, warmup, draws):
    """BlackJAX's NUTS, each chain with its own window adaptation, all vectorised."""
    start, log_density, named = potential(name, chains)
    adaptation = blackjax.window_adaptation(blackjax.nuts, log_density)
    keys = jax.random.split(jax.random.PRNGKey(1), chains)

    def of_chain(key, position):
        first, second = jax.random.split(key)
        (state, found), _ = adaptation.run(first, position, warmup)
        kernel = blackjax.nuts(log_density, **found)

        def step(state, key):
            state, _ = kernel.step(key, state)
            return state, state.position

        return jax.lax.scan(step, state, jax.random.split(second, draws))[1]

    return _constrained(named, jax.block_until_ready(jax.jit(jax.vmap(of_chain))(keys, start)))


def blackjax_chees(name, *, chains, warmup, draws):
    """BlackJAX's dynamic HMC with the ChEES warm-up."""
    start, log_density, named = potential(name, chains)
    adaptation = blackjax.chees_adaptation(log_density, chains)
    first, second = jax.random.split(jax.random.PRNGKey(1))
    (state, found), _ = adaptation.run(first, start, 0.1, optax.adam(0.05), warmup)
    kernel = blackjax.dynamic_hmc(log_density, **found)

    def step(state, key):
        state, _ = jax.vmap(kernel.step)(jax.random.split(key, chains), state)
        return state, state.position

    run = jax.jit(lambda state, keys: jax.lax.scan(step, state, keys)[1])
    drawn = jax.block_until_ready(run(state, jax.random.split(second, draws)))
    return _constrained(named, jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), drawn))


def emcee_walkers(name, *, chains, warmup, draws):
    """emcee's stretch move; the log-density of all walkers is one call of a compiled JAX function."""
    start, log_density, named = potential(name, chains)
    flattened, unravel = jax.flatten_util.ravel_pytree(jax.tree.map(lambda x: x[0], start))
    compiled = jax.jit(jax.vmap(lambda u: jnp.nan_to_num(log_density(unravel(u)), nan=-jnp.inf)))
    first = np.asarray(jax.vmap(lambda z: jax.flatten_util.ravel_pytree(z)[0])(start))
    sampler = emcee.EnsembleSampler(chains, len(flattened), lambda u: np.asarray(compiled(u)), vectorize=True)
    sampler.run_mcmc(first, warmup + draws)
    positions = jax.vmap(jax.vmap(unravel))(jnp.asarray(sampler.get_chain(discard=warmup).swapaxes(0, 1)))
    return _constrained(named, positions)


def mixture_walk(chains, steps):
    """Step a compiled random walk on a mixture of four normals; return a function that runs it."""
    means = jnp.array([-6.0, -2.0, 2.0, 6.0], dtype=jnp.float32)

    def log_prob(x):
        return logsumexp(-0.5 * (x[:, None] - means) ** 2, -1)

    def step(state, key):
        x, now = state
        of_proposal, of_uniform = jax.random.split(key)
        proposal = x + 2.0 * jax.random.normal(of_proposal, x.shape, dtype=x.dtype)
        then = log_prob(proposal)
        accepted = jnp.log(jax.random.uniform(of_uniform, x.shape, dtype=x.dtype)) < then - now
        return (jnp.where(accepted, proposal, x), jnp.where(accepted, then, now)), None

    @jax.jit
    def walk(key):
        x = jnp.zeros(chains, dtype=jnp.float32)
        return jax.lax.scan(step, (x, log_prob(x)), jax.random.split(key, steps))[0][0]

    return lambda: np.asarray(walk(jax.random.PRNGKey(0)))
