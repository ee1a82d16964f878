"""The notebook: stored without outputs, and executed as a reader does, without a network."""

import json

import pytest

nbformat = pytest.importorskip('nbformat')
nbclient = pytest.importorskip('nbclient')
pytest.importorskip('ipykernel')
pytest.importorskip('mmseg')

FIRST = """
import socket

connect = socket.socket.connect


def refuse(self, address):
    assert self.family == socket.AF_UNIX or address[0] == '127.0.0.1', f'a connection to {address} was tried'
    connect(self, address)


socket.socket.connect = refuse
"""
LAST = """
import json

from scipy.spatial import KDTree

distances = [KDTree(each.points).query(cloud)[0].mean() for cloud, each in zip(clouds, reconstructions)]
values = dict(
    accuracy=accuracy,
    published_accuracy=published_accuracy,
    from_poses=angle_errors['poses'],
    from_activations=angle_errors['activations'],
    difference=difference,
    on_object=result.saliency[100:300, 150:250].mean(),
    in_sky=result.saliency[:150, 350:].mean(),
    cloud_distance=max(distances),
)
print(json.dumps({name: float(value) for name, value in values.items()}))
"""


@pytest.fixture
def notebook(repository):
    return nbformat.read(repository / 'docs/notebooks/digits_to_cutout.ipynb', as_version=4)


def test_notebook_is_stored_without_outputs(notebook):
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == 'code']
    assert code and not any(cell.outputs or cell.execution_count for cell in code)


@pytest.mark.slow
def test_notebook_runs_offline(notebook, repository, tmp_path, monkeypatch):
    monkeypatch.setenv('PYTHONPATH', str(repository))
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    notebook.cells = [nbformat.v4.new_code_cell(FIRST), *notebook.cells, nbformat.v4.new_code_cell(LAST)]
    nbclient.NotebookClient(notebook, timeout=600, resources=dict(metadata=dict(path=str(tmp_path)))).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == 'code' for output in cell.outputs]
    assert [output.text for output in outputs if output.get('name') == 'stderr'] == []
    assert sum('image/png' in output.get('data', ()) for output in outputs) == 7
    values = json.loads(outputs[-1].text)
    assert values['accuracy'] > 0.975
    assert values['published_accuracy'] == pytest.approx(0.9944, abs=5e-5)
    assert values['from_poses'] < 11 < 15 < values['from_activations']
    assert values['difference'] < 1e-5
    assert values['in_sky'] < 0.05 < 0.95 < values['on_object']
    assert values['cloud_distance'] < 0.5
    assert not list(tmp_path.iterdir())
