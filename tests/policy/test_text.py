"""The written form of policies, and the checks of settings, which are the same from Python."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from softllama import policy
from softllama.errors import UsageError

GOOD = [
    ("greedy", "greedy", {}),
    (" greedy ", "greedy", {}),
    ("greedy()", "greedy", {}),
    ("greedy:", "greedy", {}),
    ("soft_thinking", "soft_thinking", {}),
    ("soft_thinking:n=10,tau=0.01", "soft_thinking", {"n": 10, "tau": 0.01}),
    ("soft_thinking( n = 10 , tau = 1e-2 )", "soft_thinking", {"n": 10, "tau": 0.01}),
    ("soft_thinking:tau=inf,k=1", "soft_thinking", {"tau": math.inf, "k": 1}),
    ("soft_thinking:where=everywhere", "soft_thinking", {"where": "everywhere"}),
    ("moi:beta=Infinity", "moi", {"beta": math.inf}),
    ("multiplex:k=2,weighted=true", "multiplex", {"k": 2, "weighted": True}),
    ("multiplex:weighted=No", "multiplex", {"weighted": False}),
    ("sample:temperature=1,penalty_last_n=-1", "sample", {"temperature": 1.0, "penalty_last_n": -1}),
    ("full:epsilon=0", "full", {"epsilon": 0.0}),
    ("gumbel:answer=greedy,n=3", "gumbel", {"answer": "greedy", "n": 3}),
    (
        "gumbel:tau=0.3,answer=sample(temperature=0.8,top_p=0.9)",
        "gumbel",
        {"tau": 0.3, "answer": "sample(temperature=0.8,top_p=0.9)"},
    ),
    ("full:answer=full(answer=sample(top_k=3))", "full", {"answer": "full(answer=sample(top_k=3))"}),
    ("full:answer=sample:top_k=3", "full", {"answer": "sample(top_k=3)"}),
]


@pytest.mark.parametrize(("text", "name", "given"), GOOD, ids=[g[0] for g in GOOD])
def test_good(text, name, given):
    p = policy.parse(text)
    assert p.name == name
    assert dict(p.arguments) == given
    assert dict(p.parameters) == {**policy.parse(name).parameters, **given}
    assert [type(v) for v in p.parameters.values()] == [type(v) for v in policy.parse(name).parameters.values()]
    again = policy.parse(repr(p))
    assert (again.name, again.parameters, repr(again)) == (p.name, p.parameters, repr(p))


BAD = [  # text, what the message says, what the hint says
    ("", "the policy is empty", "write a name and settings"),
    ("   ", "the policy is empty", "write a name"),
    (":n=1", "':n=1' is not a policy", "write a name"),
    ("soft_thinkin", "there is no policy 'soft_thinkin'", "did you mean 'soft_thinking'?"),
    ("soft-thinking", "there is no policy 'soft-thinking'", "did you mean 'soft_thinking'?"),
    ("Greedy", "there is no policy 'Greedy'", "did you mean 'greedy'?"),
    ("gumble:tau=1", "there is no policy 'gumble'", "did you mean 'gumbel'?"),
    ("zzz", "there is no policy 'zzz'", "there are: cold_stop, dirichlet, full"),
    ("soft_thinking:tua=0.01", "soft_thinking has no parameter 'tua'", "did you mean 'tau'?"),
    ("soft_thinking:temprature=1", "soft_thinking has no parameter 'temprature'", "did you mean 'temperature'?"),
    ("moi:beat=1", "moi has no parameter 'beat'", "did you mean 'beta'?"),
    ("sample:topk=3", "sample has no parameter 'topk'", "did you mean 'top_k'?"),
    ("greedy:n=1", "greedy has no parameter 'n'", "there are: none"),
    ("soft_thinking:N=1", "soft_thinking has no parameter 'N'", "there are: n, temperature"),
    ("soft_thinking:n", "'n' is not a setting", "soft_thinking:n=10"),
    ("soft_thinking:10", "'10' is not a setting", "soft_thinking:n=10"),
    ("soft_thinking:n=", "'n=' is not a setting", "soft_thinking:n=10"),
    ("soft_thinking:=3", "'=3' is not a setting", "soft_thinking:n=10"),
    ("soft_thinking:n=1,", "an empty setting in 'soft_thinking:n=1,'", ""),
    ("soft_thinking:,n=1", "an empty setting in", ""),
    ("soft_thinking:n=1,n=2", "n is given twice in 'soft_thinking:n=1,n=2'", ""),
    ("soft_thinking:n=ten", "n = 'ten' is not allowed: it must be a whole number at least 1", ""),
    ("soft_thinking:n=1.5", "n = '1.5' is not allowed: it must be a whole number at least 1", ""),
    ("soft_thinking:n=1_0", "n = '1_0' is not allowed", ""),
    ("soft_thinking:n=0", "n = 0 is not allowed: it must be a whole number at least 1", ""),
    ("soft_thinking:k=-3", "k = -3 is not allowed: it must be a whole number at least 1", ""),
    ("soft_thinking:tau=-0.1", "tau = -0.1 is not allowed: it must be a number at least 0", ""),
    ("soft_thinking:tau=nan", "tau = 'nan' is not allowed", ""),
    ("soft_thinking:tau=low", "tau = 'low' is not allowed: it must be a number at least 0", ""),
    ("soft_thinking:top_p=0", "top_p = 0.0 is not allowed: it must be a number above 0, at most 1", ""),
    ("soft_thinking:top_p=1.01", "top_p = 1.01 is not allowed: it must be a number above 0, at most 1", ""),
    ("soft_thinking:min_p=2", "min_p = 2.0 is not allowed: it must be a number between 0 and 1", ""),
    ("soft_thinking:top_k=-1", "top_k = -1 is not allowed: it must be a whole number at least 0", ""),
    ("soft_thinking:temperature=-1", "temperature = -1.0 is not allowed: it must be a number between 0 and", ""),
    ("soft_thinking:temperature=inf", "temperature = inf is not allowed", ""),
    ("soft_thinking:where=sometimes", "where = 'sometimes' is not allowed: it must be thinking or everywhere", ""),
    ("full:epsilon=0.6", "epsilon = 0.6 is not allowed: it must be a number between 0 and 0.5", ""),
    ("dirichlet:gamma=0", "gamma = 0.0 is not allowed: it must be a number between 1e-06 and 1e+06", ""),
    ("moi:k=1", "k = 1 is not allowed: it must be a whole number at least 2", ""),
    ("moi:beta=-1", "beta = -1.0 is not allowed: it must be a number at least 0", ""),
    ("selar:k=1", "k = 1 is not allowed: it must be a whole number at least 2", ""),
    ("selar:c=1e4", "c = 10000.0 is not allowed: it must be a number between 0 and 1000", ""),
    ("multiplex:k=1001", "k = 1001 is not allowed: it must be a whole number between 1 and 1000", ""),
    ("multiplex:weighted=maybe", "weighted = 'maybe' is not allowed: it must be true or false", ""),
    ("swir:a0=1.5", "a0 = 1.5 is not allowed: it must be a number between 0 and 1", ""),
    ("swir:answer_tokens=0", "answer_tokens = 0 is not allowed: it must be a whole number at least 1", ""),
    ("sample:repetition_penalty=0", "repetition_penalty = 0.0 is not allowed: it must be a number above 0", ""),
    ("sample:penalty_last_n=-2", "penalty_last_n = -2 is not allowed: it must be a whole number at least -1", ""),
    ("hidden:steps=-1", "steps = -1 is not allowed: it must be a whole number at least 0", ""),
    ("soft_noise:sigma=-0.3", "sigma = -0.3 is not allowed: it must be a number between 0 and 1000", ""),
    ("soft_thinking(n=1", "'soft_thinking(n=1' is not a policy", "write a name"),
    ("soft_thinking:n=1)", "the parentheses in 'soft_thinking:n=1)' do not match", ""),
    ("full:answer=sample(top_k=3", "the parentheses in 'full:answer=sample(top_k=3' do not match", ""),
    ("full:answer=smaple", "there is no policy 'smaple'", "did you mean 'sample'?"),
    ("full:answer=sample(topk=3)", "sample has no parameter 'topk'", "did you mean 'top_k'?"),
    ("soft_thinking,n=3", "'soft_thinking,n=3' is not a policy", "write a name"),
    ("soft_thinking n=3", "'soft_thinking n=3' is not a policy", "write a name"),
]


@pytest.mark.parametrize(("text", "message", "hint"), BAD, ids=[b[0] or "nothing" for b in BAD])
def test_bad(text, message, hint):
    with pytest.raises(UsageError) as e:
        policy.parse(text)
    assert message in str(e.value)
    assert hint in e.value.hint
    assert e.value.exit_code == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: policy.soft_thinking(n=0), "n = 0 is not allowed: it must be a whole number at least 1"),
        (lambda: policy.soft_thinking(0), "n = 0 is not allowed"),
        (lambda: policy.soft_thinking(n=2.0), "n = 2.0 is not allowed"),
        (lambda: policy.soft_thinking(n=True), "n = True is not allowed"),
        (lambda: policy.soft_thinking(n="3"), "n = '3' is not allowed"),
        (lambda: policy.soft_thinking(n=None), "n = None is not allowed"),
        (lambda: policy.soft_thinking(tau="0.1"), "tau = '0.1' is not allowed"),
        (lambda: policy.soft_thinking(tau=math.nan), "tau = nan is not allowed"),
        (lambda: policy.soft_thinking(top_p=10**400), "is not allowed: it must be a number above 0, at most 1"),
        (lambda: policy.soft_thinking(where="answer"), "where = 'answer' is not allowed"),
        (lambda: policy.soft_thinking(where=None), "where = None is not allowed"),
        (lambda: policy.soft_thinking(answer="greedy"), "a policy is a function"),
        (lambda: policy.soft_thinking(tua=1), "soft_thinking has no parameter 'tua'"),
        (lambda: policy.multiplex(weighted=1), "weighted = 1 is not allowed: it must be true or false"),
        (lambda: policy.parse(3), "a policy is written as text, not int"),
        (lambda: policy.describe("gredy"), "there is no policy 'gredy'"),
    ],
)
def test_bad_from_python(call, message):
    with pytest.raises(UsageError, match=message.replace("(", r"\(")):
        call()


def test_numbers_of_numpy_are_numbers():
    p = policy.soft_thinking(n=np.int64(3), tau=np.float32(0.5), temperature=1)
    assert repr(p) == "soft_thinking:n=3,temperature=1.0,tau=0.5"  # in the order of the signature


def test_names_and_descriptions():
    assert policy.names() == [
        "cold_stop", "dirichlet", "full", "greedy", "gumbel", "hidden", "moi", "multiplex", "random_mix", "route",
        "sample", "selar", "soft_noise", "soft_thinking", "swir", "top_mean",
    ]  # fmt: skip
    for name in policy.names():
        first, *settings = policy.describe(name).splitlines()
        assert first.startswith(f"{name}: ")
        assert first.endswith((".", ")."))
        assert [line.split(" = ")[0].strip() for line in settings] == list(policy.parse(name).parameters)
    assert "  tau         = 0.01  (a number at least 0)" in policy.describe("soft_thinking")
    assert policy.describe("greedy") == "greedy: The most probable token; the lowest id among equals."


@pytest.mark.parametrize("name", policy.names())
def test_settings_can_be_recorded(name):
    p = policy.parse(name)
    assert json.loads(json.dumps(dict(p.parameters))) == dict(p.parameters)
    assert repr(p) == name
    assert callable(getattr(policy, name))
    assert "UsageError: a setting is out of range" in getattr(policy, name).__doc__ or name == "greedy"


def test_published_defaults():
    def of(name, *keys):
        return tuple(policy.parse(name).parameters[k] for k in keys)

    soft = ("n", "temperature", "top_k", "top_p", "min_p")
    assert of("soft_thinking", *soft, "tau", "k") == (10, 0.6, 30, 0.95, 0.001, 0.01, 256)
    assert of("gumbel", *soft, "tau") == (15, 0.6, 30, 0.95, 0, 0.5)
    assert of("dirichlet", *soft, "gamma") == (15, 0.6, 30, 0.95, 0, 4.0)
    assert of("moi", "beta", "k") == (1.0, 20)
    swir = ("a0", "b0", "window", "temperature", "top_p", "top_k", "max_switches", "answer_tokens")
    assert of("swir", *swir) == (1.0, 0.7, 512, 0.6, 0.95, 20, 0, 32)
    assert of("selar", "k", "tau", "c") == (3, 0.5, 1.0)
    assert of("multiplex", "k") == (3,)
    assert of("soft_noise", "temperature", "sigma") == (0.5, 0.33)
    assert of("full", "temperature", "epsilon") == (1.0, 1e-6)
