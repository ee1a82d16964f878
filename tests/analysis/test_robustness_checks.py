"""Checks for masked gradients, on made-up results."""

import pytest

from rescaps_plugin.analysis.robustness.attacks import ATTACKS
from rescaps_plugin.analysis.robustness.checks import check_attacks


def results_of(**changes):
    """Results of two models that pass every check, with some accuracies changed."""
    accuracy = {'noise': [99, 98], 'fgsm': [80, 60], 'bim': [70, 40], 'pgd': [70, 38], 'square': [90, 70]} | changes
    attacks = {name: [dict(accuracy=value, loss=-0.1 * value) for value in values] for name, values in accuracy.items()}
    return {
        'clean': {'a': dict(accuracy=99, loss=-9.9)},
        'white_box': {'a': attacks},
        'transfer': {'b': {'a': [dict(accuracy=95, loss=0), dict(accuracy=90, loss=0)]}},
        'unbounded': {'a': dict(accuracy=0, loss=5)},
        'zero_gradients': {'a': 0},
        'largest_excess': {'a': 1e-8},
    }


def test_checks_report_figures():
    checks = check_attacks(results_of(), 100)
    assert all(check.passed for check in checks)
    lines = list(map(str, checks))
    assert "PASS  a: PGD's loss rises with epsilon (-9.90 < -7.00 < -3.80)" in lines
    assert 'PASS  a: PGD fools as many as FGSM or more (accuracy 70.0 : 80.0 %, 38.0 : 60.0 %)' in lines


@pytest.mark.parametrize(
    ('change', 'claim'),
    [
        (dict(pgd=[70, 61]), 'PGD fools as many as FGSM'),
        (dict(square=[90, 37]), 'PGD fools as many as Square'),
        (dict(bim=[81, 40]), 'BIM fools as many as FGSM'),
        (dict(noise=[79, 98]), 'FGSM fools as many as random signs'),
        (dict(pgd=[38, 38]), "PGD's loss rises"),
        (
            dict(transfer={'b': {'a': [dict(accuracy=69, loss=0), dict(accuracy=90, loss=0)]}}),
            'the images of PGD against b',
        ),
        (dict(unbounded={'a': dict(accuracy=1, loss=5)}), 'PGD without a bound'),
        (dict(zero_gradients={'a': 1}), 'the gradient is not zero'),
        (dict(largest_excess={'a': 1e-3}), 'perturbations stay within'),
    ],
)
def test_each_check_can_fail(change, claim):
    (name,) = change
    results = results_of(**change) if name in ATTACKS else {**results_of(), **change}
    (failed,) = [check for check in check_attacks(results, 100) if not check.passed]
    assert failed.claim.startswith(claim) or claim in failed.claim
    assert str(failed).startswith('FAIL  a: ')
