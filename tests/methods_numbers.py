#!/usr/bin/env python3
"""Makes the reference numbers of tests/data/methods again, from the packages that are named at each function.

python3 -m venv venv && venv/bin/pip install numpy pandas scipy scikit-learn statsmodels krippendorff irrCAC ppi-python
venv/bin/python tests/methods_numbers.py [NAME ..]
"""
import json
import pathlib
import sys
import warnings

import numpy as np

FOLDER = pathlib.Path(__file__).parent / "data" / "methods"


def number(value):
    """A number for JSON; null if it is undefined."""
    value = float(value)
    return value if np.isfinite(value) else None


def random_codes(rng):
    """Units x coders with codes from 1; 0 is a missing code. Every unit has a code."""
    units, coders, categories = rng.integers(6, 26), rng.integers(2, 6), rng.integers(2, 6)
    truth = rng.integers(1, categories + 1, units)
    wrong = rng.random((units, coders)) < rng.uniform(0.1, 0.7)
    codes = np.where(wrong, rng.integers(1, categories + 1, (units, coders)), truth[:, None])
    codes[rng.random((units, coders)) < rng.choice([0.0, 0.15, 0.3])] = 0
    empty = codes.sum(axis=1) == 0
    codes[empty, 0] = truth[empty]
    return codes


def of_group(codes):
    """krippendorff 0.9 (alpha), irrCAC 0.4 (coefficients and their standard errors)."""
    import krippendorff
    import pandas
    from irrCAC.raw import CAC

    values = np.where(codes == 0, np.nan, codes.astype(float))
    found = {}
    for level in ["nominal", "ordinal", "interval", "ratio"]:
        found["alpha_" + level] = number(krippendorff.alpha(values.T, level_of_measurement=level))
    for weights in ["identity", "ordinal", "quadratic", "ratio"]:
        cac = CAC(pandas.DataFrame(values), weights=weights, digits=16)
        for name in ["fleiss", "gwet", "krippendorff"]:
            if name == "fleiss" and weights != "identity" or name == "krippendorff" and weights == "ordinal":
                continue
            est = getattr(cac, name)()["est"]
            found[f"{name}_{weights}"] = [number(est["coefficient_value"]), number(est["se"])]
    return found


def of_pair(codes):
    """scikit-learn 1.x (kappa), statsmodels 0.14 (its standard error)."""
    from sklearn.metrics import cohen_kappa_score
    from statsmodels.stats.inter_rater import cohens_kappa

    both = codes[(codes[:, 0] > 0) & (codes[:, 1] > 0), :2]
    labels = sorted(set(both.flatten()))
    table = np.zeros((len(labels), len(labels)))
    for a, b in both:
        table[labels.index(a), labels.index(b)] += 1
    found = {}
    for weights in [None, "linear", "quadratic"]:
        kappa = cohen_kappa_score(both[:, 0], both[:, 1], weights=weights)
        error = cohens_kappa(table, wt=weights).std_kappa
        found["kappa_" + (weights or "nominal")] = [number(kappa), number(error)]
    return found


def masi(a, b):
    """Passonneau 2006."""
    both, either = len(a & b), len(a | b)
    if either == 0:
        return 0.0
    monotony = 1 if a == b else 2 / 3 if both and (a <= b or b <= a) else 1 / 3 if both else 0
    return 1 - both / either * monotony


def of_sets(rng):
    """Lists of labels by three coders: krippendorff 0.9 with the MASI distance."""
    import krippendorff

    sets = [frozenset(label for label in range(3) if bits >> label & 1) for bits in range(8)]
    truth = rng.integers(0, 8, 20)
    codes = np.where(rng.random((20, 3)) < 0.4, rng.integers(0, 8, (20, 3)), truth[:, None]).astype(float)
    codes[rng.random((20, 3)) < 0.1] = np.nan
    distance = lambda v1, v2, i1, i2, n_v, dtype: np.array(
        [[masi(sets[int(a)], sets[int(b)]) for b in np.ravel(v2)] for a in np.ravel(v1)], dtype=dtype
    ).reshape(np.broadcast(v1, v2).shape)
    alpha = krippendorff.alpha(codes.T, level_of_measurement=distance, value_domain=np.arange(8))
    rows = [[None if np.isnan(code) else sorted(sets[int(code)]) for code in row] for row in codes]
    return {"codes": rows, "alpha": number(alpha)}


def agreement():
    rng = np.random.default_rng(18)
    tables = []
    while len(tables) < 50:
        codes = random_codes(rng)
        both = codes[(codes[:, 0] > 0) & (codes[:, 1] > 0), :2]
        if len(set(both.flatten())) < 2:
            continue
        tables.append({"codes": codes.tolist(), **of_group(codes), **of_pair(codes)})
    return {"tables": tables, "sets": [of_sets(rng) for _ in range(5)]}


def estimate():
    """Corrected estimates: ppi-python 0.2 (ppi, ppi++), statsmodels 0.15 and scipy over outcomes and pseudo-outcomes."""
    import statsmodels.api as sm
    from ppi_py import ppi_logistic_ci, ppi_mean_ci, ppi_mean_pointestimate, ppi_ols_ci
    from scipy.optimize import root
    from scipy.stats import norm

    z = norm.ppf(0.975)

    def interval(ends):
        low, high = (np.atleast_1d(np.squeeze(end)) for end in ends)
        return {"estimate": ((low + high) / 2).tolist(), "std_error": ((high - low) / 2 / z).tolist()}

    def fitted(fit):
        return {"estimate": np.asarray(fit.params).tolist(), "std_error": np.asarray(fit.bse).tolist()}

    def logit(x, y, w, factor, clusters=None):
        """The weighted logit of an outcome that may lie outside 0 and 1."""
        mean = lambda b: 1 / (1 + np.exp(-x @ b))
        b = root(lambda b: x.T @ (w * (y - mean(b))), np.zeros(x.shape[1]), tol=1e-14).x
        bread = np.linalg.inv(x.T @ (x * (w * mean(b) * (1 - mean(b)))[:, None]))
        scores = x * (w * (y - mean(b)))[:, None]
        if clusters is not None:
            scores = np.array([scores[clusters == c].sum(0) for c in np.unique(clusters)])
        v = factor * bread @ scores.T @ scores @ bread
        return {"estimate": b.tolist(), "std_error": np.sqrt(np.diag(v)).tolist()}

    def cr1(clusters, k):
        g, n = len(np.unique(clusters)), len(clusters)
        return g / (g - 1) * (n - 1) / (n - k)

    tables, rng = [], np.random.default_rng(20231128)
    for number in range(12):
        equal = number % 2 == 0
        n, gold = 90, 30
        cluster = rng.integers(0, 12, n)
        party, year = rng.integers(0, 2, n), np.round(rng.normal(size=n), 3)
        x = np.column_stack([np.ones(n), party, year])
        chance = 1 / (1 + np.exp(0.2 - 0.9 * party - 0.5 * year))
        y = (rng.random(n) < chance).astype(float)
        f = np.where(rng.random(n) < 0.8, y, 1 - y)
        if equal:
            p = np.full(n, gold / n)
            r = np.isin(np.arange(n), rng.choice(n, gold, replace=False))
        else:
            p = np.round(0.25 + 0.3 * rng.random(n), 3)
            r = rng.random(n) < p
        pseudo = f + np.where(r, (y - f) / p, 0)
        w = 1 / p[r]
        by = lambda rows: {"cov_type": "cluster", "cov_kwds": {"groups": cluster[rows]}}
        every = np.ones(n, bool)
        numbers = {
            "naive": {
                "mean": fitted(sm.OLS(f, x[:, :1]).fit(cov_type="HC0")),
                "ols": fitted(sm.OLS(f, x).fit(cov_type="HC0")),
                "logit": fitted(sm.Logit(f, x).fit(disp=0, method="newton", maxiter=100, tol=1e-14, cov_type="HC0")),
                "ols_cluster": fitted(sm.OLS(f, x).fit(**by(every))),
            },
            "gold_only": {
                "mean": fitted(sm.WLS(y[r], x[r, :1], weights=w).fit(cov_type="HC0")),
                "ols": fitted(sm.WLS(y[r], x[r], weights=w).fit(cov_type="HC0")),
                "logit": logit(x[r], y[r], w, 1),
                "ols_cluster": fitted(sm.WLS(y[r], x[r], weights=w).fit(**by(r))),
            },
            "dsl": {
                "mean": fitted(sm.OLS(pseudo, x[:, :1]).fit(cov_type="HC1")),
                "ols": fitted(sm.OLS(pseudo, x).fit(cov_type="HC1")),
                "logit": logit(x, pseudo, np.ones(n), n / (n - 3)),
                "ols_cluster": fitted(sm.OLS(pseudo, x).fit(**by(every))),
                "logit_cluster": logit(x, pseudo, np.ones(n), cr1(cluster, 3), cluster),
            },
        }
        if equal:
            for name, lam in [("ppi", 1), ("ppi++", None)]:
                both = dict(alpha=0.05, lam=lam)
                data = (x[r], y[r], f[r], x[~r], f[~r])
                numbers[name] = {
                    "mean": interval(ppi_mean_ci(y[r], f[r], f[~r], **both)),
                    "ols": interval(ppi_ols_ci(*data, **both)),
                    "logit": interval(ppi_logistic_ci(*data, **both, optimizer_options={"ftol": 1e-15, "gtol": 1e-12})),
                }
        rows = {
            "party": party.tolist(), "year": year.tolist(), "machine": f.tolist(), "probability": p.tolist(),
            "gold": [value if drawn else None for value, drawn in zip(y.tolist(), r)], "cluster": cluster.tolist(),
        }
        tables.append({"rows": rows, "numbers": numbers})
    return tables


def dsl():
    """Design-based supervised learning by the moments of the paper (Egami et al. 2023, equation 6) and the variance of the
    authors' R package `dsl` 0.1 (its functions dsl_general_moment_base_decomp and power_dsl), written out in numpy: no
    pseudo-outcomes, no regression, no correction for few rows or clusters."""
    from scipy.optimize import root

    rng = np.random.default_rng(20231204)
    tables = []
    for model in ["mean", "ols", "logit"]:
        n = 150
        cluster = rng.integers(0, 20, n)
        party, year = rng.integers(0, 2, n), rng.integers(1850, 1901, n)
        y = (rng.random(n) < 1 / (1 + np.exp(0.4 - 0.9 * party - 0.03 * (year - 1875)))).astype(float)
        f = np.where(rng.random(n) < 0.8, y, 1 - y)
        p = np.round(0.2 + 0.2 * rng.random(n), 3)
        r = rng.random(n) < p
        x = np.ones((n, 1)) if model == "mean" else np.column_stack([np.ones(n), party, year])
        # The years are centred and scaled for the solver only.
        back = np.eye(x.shape[1])
        if model != "mean":
            back[2, 2], back[0, 2] = 1 / 15, -1875 / 15
        z = x @ back
        link = (lambda t: 1 / (1 + np.exp(-t))) if model == "logit" else (lambda t: t)
        slope = (lambda t: link(t) * (1 - link(t))) if model == "logit" else (lambda t: np.ones(n))

        def parts(b):
            """The moments by the machine's labels, and those by gold in the rows that have it."""
            return z * (f - link(z @ b))[:, None], z * np.where(r, y - link(z @ b), 0)[:, None]

        def corrected(b):
            machine, gold = parts(b)
            return machine + (gold - machine) * (r / p)[:, None]

        b = root(lambda b: corrected(b).mean(0), np.zeros(z.shape[1]), tol=1e-15).x
        machine, gold = parts(b)
        difference = (gold - machine) * (r / p)[:, None]
        inverse = np.linalg.inv(z.T @ (z * slope(z @ b)[:, None]) / n)

        def errors(machine, difference, ratio):
            """With `ratio` times as many codes."""
            meat = difference.T @ difference / ratio + machine.T @ machine
            meat = (meat + machine.T @ difference + difference.T @ machine) / n
            return np.sqrt(np.diag(back @ inverse @ meat @ inverse.T @ back.T / n)).tolist()

        sums = [np.array([part[cluster == c].sum(0) for c in np.unique(cluster)]) for part in (machine, difference)]
        codes = int(r.sum())
        tables.append({
            "model": model,
            "rows": {
                "party": party.tolist(), "year": year.tolist(), "machine": f.tolist(), "probability": p.tolist(),
                "gold": [value if drawn else None for value, drawn in zip(y.tolist(), r)], "cluster": cluster.tolist(),
            },
            "estimate": (back @ b).tolist(),
            "std_error": errors(machine, difference, 1),
            "std_error_cluster": errors(*sums, 1),
            "codes": codes * 2,
            "expected_std_error": errors(machine, difference, 2),
        })
    return tables


def plain(value):
    """The same value for JSON; NaN is null."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(inner) for inner in value]
    if isinstance(value, (float, np.floating)):
        return None if np.isnan(value) else float(value)
    return int(value) if isinstance(value, np.integer) else value


def classification():
    """50 tables of labels: scores of scikit-learn."""
    from sklearn import metrics

    random = np.random.default_rng(1)
    tables = []
    for table in range(50):
        classes, n = int(random.integers(2, 6)), int(random.integers(5, 40))
        truth = random.integers(0, classes, n)
        predicted = np.where(random.random(n) < 0.6, truth, random.integers(0, classes, n))
        weight = random.integers(1, 17, n) / 4 if table % 2 else np.ones(n)
        of = {"sample_weight": weight}
        scores = dict(zip(
            ("precision", "recall", "f1", "support"),
            metrics.precision_recall_fscore_support(truth, predicted, labels=range(classes), zero_division=np.nan, **of),
        ))
        for average in ("macro", "weighted"):
            found = metrics.precision_recall_fscore_support(truth, predicted, average=average, zero_division=0, **of)
            scores |= {f"{name}_{average}": value for name, value in zip(("precision", "recall", "f1"), found)}
        varies = len(set(truth)) > 1 and len(set(predicted)) > 1
        scores |= {
            "accuracy": metrics.accuracy_score(truth, predicted, **of),
            "balanced_accuracy": metrics.balanced_accuracy_score(truth, predicted, **of),
            "matthews": metrics.matthews_corrcoef(truth, predicted, **of) if varies else None,
            "confusion": metrics.confusion_matrix(truth, predicted, labels=range(classes), **of),
        }
        tables.append({"classes": classes, "truth": truth, "predicted": predicted, "weight": weight, "scores": scores})
    return plain(tables)


def numeric():
    """50 tables of numbers: errors of scikit-learn and numpy; concordance by its definition."""
    from sklearn import metrics

    random = np.random.default_rng(2)
    tables = []
    for table in range(50):
        n = int(random.integers(3, 30))
        truth = random.integers(-40, 100, n) / 4
        predicted = truth + random.integers(-12, 14, n) / 4
        weight = random.integers(1, 17, n) / 4 if table % 2 else np.ones(n)
        (truths, both), (_, predictions) = np.cov(truth, predicted, aweights=weight, bias=True)
        means = np.average(truth, weights=weight), np.average(predicted, weights=weight)
        tables.append({"truth": truth, "predicted": predicted, "weight": weight, "scores": {
            "mae": metrics.mean_absolute_error(truth, predicted, sample_weight=weight),
            "rmse": metrics.root_mean_squared_error(truth, predicted, sample_weight=weight),
            "bias": means[1] - means[0],
            "pearson": both / np.sqrt(truths * predictions),
            "concordance": 2 * both / (truths + predictions + (means[0] - means[1]) ** 2),
        }})
    return plain(tables)


def calibration():
    """50 tables of probabilities: scores and isotonic regression of scikit-learn."""
    from sklearn import isotonic, metrics

    random = np.random.default_rng(3)
    tables = []
    for table in range(50):
        n = int(random.integers(6, 40))
        p = random.integers(1, 100, n) / 100
        hit = (random.random(n) < p**1.5).astype(int)
        hit[:2] = 0, 1
        weight = random.integers(1, 17, n) / 4 if table % 2 else np.ones(n)
        fit = isotonic.IsotonicRegression(out_of_bounds="clip").fit(p, hit, weight)
        grid = np.arange(0, 21) / 20
        tables.append({"p": p, "hit": hit, "weight": weight, "scores": {
            "brier": metrics.brier_score_loss(hit, p, sample_weight=weight),
            "log_loss": metrics.log_loss(hit, p, sample_weight=weight),
            "auroc": metrics.roc_auc_score(hit, p, sample_weight=weight),
            "isotonic": fit.predict(grid),
        }})
    return plain(tables)


ALL = {
    "agreement": agreement,
    "estimate": estimate,
    "dsl": dsl,
    "classification": classification,
    "numeric": numeric,
    "calibration": calibration,
}

if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[1:] or ALL:
        text = json.dumps(ALL[name](), separators=(",", ":"))
        (FOLDER / f"{name}.json").write_text(text.replace("},{", "},\n{") + "\n")
