"""Saliency data sets: layouts of the archives, mask formats, and unmatched files."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS, TRANSFORMS
from PIL import Image
from sklearn.linear_model import LogisticRegression

import rescaps_plugin.saliency  # noqa: F401
from rescaps_plugin.data.images import ImageError
from rescaps_plugin.saliency.datasets import SODBenchmark, SODDataset, SyntheticSOD
from rescaps_plugin.saliency.masks import PairError, read_grey, read_mask

ECSSD = Path('data/ECSSD')
PIPELINE = [dict(type='LoadImageFromFile'), dict(type='LoadSaliencyMask'), dict(type='PackSegInputs')]
LAYOUTS = {
    'DUTSDataset': ('DUTS-TE', 'DUTS-TE/DUTS-TE-Image', 'DUTS-TE/DUTS-TE-Mask', '.jpg'),
    'ECSSDDataset': ('ECSSD', 'images', 'ground_truth_mask', '.jpg'),
    'HKUISDataset': ('HKU-IS', 'imgs', 'gt', '.png'),
    'PASCALSDataset': ('PASCAL-S', 'datasets/imgs/pascal', 'datasets/masks/pascal', '.jpg'),
    'DUTOMRONDataset': ('DUT-OMRON', 'DUT-OMRON-image', 'pixelwiseGT-new-PNG', '.jpg'),
}


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmseg')


def write_pairs(root, images='images', masks='masks', suffix='.jpg', stems=('1', '2', '10')):
    """Write images with masks whose top two rows are salient."""
    for folder in (root / images, root / masks):
        folder.mkdir(parents=True)
    for index, stem in enumerate(stems):
        mask = np.zeros((6, 8 + index), np.uint8)
        mask[:2] = 255
        Image.fromarray(np.dstack([mask] * 3)).save(root / images / f'{stem}{suffix}')
        Image.fromarray(mask).save(root / masks / f'{stem}.png')
    return root


@pytest.mark.parametrize('kind', LAYOUTS)
def test_layout_of_each_archive(tmp_path, kind):
    name, images, masks, suffix = LAYOUTS[kind]
    write_pairs(tmp_path, images, masks, suffix)
    (tmp_path / images / 'Thumbs.db').touch()
    dataset = DATASETS.build(dict(type=kind, data_root=str(tmp_path), pipeline=PIPELINE))
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    assert [Path(info['img_path']).name for info in infos] == [f'{stem}{suffix}' for stem in ('1', '10', '2')]
    assert {info['dataset'] for info in infos} == {name}
    for index, info in enumerate(infos):
        assert Path(info['seg_map_path']) == tmp_path / masks / f'{Path(info["img_path"]).stem}.png'
        mask = dataset[index]['data_samples'].gt_sem_seg.data
        assert mask.shape[1:] == dataset[index]['inputs'].shape[1:]
        assert mask[0, :2].eq(1).all() and mask[0, 2:].eq(0).all()
    assert dataset.metainfo['classes'] == ('background', 'salient')


def test_duts_training_split(tmp_path):
    write_pairs(tmp_path, 'DUTS-TR/DUTS-TR-Image', 'DUTS-TR/DUTS-TR-Mask', stems=('x',))
    dataset = DATASETS.build(dict(type='DUTSDataset', data_root=str(tmp_path), split='train'))
    assert len(dataset) == 1 and dataset.get_data_info(0)['dataset'] == 'DUTS-TR'
    with pytest.raises(ValueError, match="split must be 'train' or 'test', not 'val'"):
        DATASETS.build(dict(type='DUTSDataset', data_root=str(tmp_path), split='val'))
    with pytest.raises(FileNotFoundError, match='DUTS-TE: .*DUTS-TE-Image is not a folder.*data_root'):
        DATASETS.build(dict(type='DUTSDataset', data_root=str(tmp_path)))


@pytest.mark.parametrize(
    ('image_suffix', 'mask_suffix', 'options'),
    [('.JPG', '.PNG', {}), ('_sat.png', '_mask.png', dict(img_suffix='_sat.png', seg_map_suffix='_mask.png'))],
)
def test_suffixes(tmp_path, image_suffix, mask_suffix, options):
    """Images and masks in one folder, as in some archives."""
    for stem in ('a', 'b.c'):
        Image.new('RGB', (4, 4)).save(tmp_path / f'{stem}{image_suffix}')
        Image.new('L', (4, 4)).save(tmp_path / f'{stem}{mask_suffix}')
    dataset = SODDataset(str(tmp_path), data_prefix=dict(img_path='', seg_map_path=''), **options)
    assert [Path(dataset.get_data_info(index)['img_path']).name for index in range(2)] == [
        f'a{image_suffix}',
        f'b.c{image_suffix}',
    ]


def test_stem_range_and_ann_file(tmp_path):
    write_pairs(tmp_path, stems=[f'{number:04d}' for number in range(1, 9)])

    def stems(**options):
        dataset = SODDataset(str(tmp_path), **options)
        return [Path(dataset.get_data_info(index)['img_path']).stem for index in range(len(dataset))]

    assert stems(stem_range=('0003', '0005')) == ['0003', '0004', '0005']
    (tmp_path / 'list.txt').write_text('0007\n0002.jpg\n\n')
    assert stems(ann_file='list.txt') == ['0007', '0002']
    assert stems(ann_file='list.txt', stem_range=('0005', '0009')) == ['0007']
    with pytest.raises(PairError, match='has no image from 1 to 2'):
        stems(stem_range=('1', '2'))
    with pytest.raises(ValueError, match='stem_range must be two strings, not 5'):
        stems(stem_range=5)
    (tmp_path / 'list.txt').write_text('0009\n')
    with pytest.raises(PairError, match='list.txt: 0009 is not in .*images'):
        stems(ann_file='list.txt')
    (tmp_path / 'list.txt').write_bytes(b'\xff\n')
    with pytest.raises(PairError, match='list.txt: expected lines of UTF-8'):
        stems(ann_file='list.txt')
    with pytest.raises(FileNotFoundError, match='the list .*nowhere.txt does not exist'):
        stems(ann_file='nowhere.txt')


def test_files_without_counterpart_are_named(tmp_path):
    write_pairs(tmp_path)
    (tmp_path / 'masks' / '10.png').unlink()
    with pytest.raises(PairError, match=r'10\.jpg: this image has no mask in .*masks$'):
        SODDataset(str(tmp_path))
    for name in ('0', '1', '10'):
        Image.new('L', (4, 4)).save(tmp_path / 'masks' / f'{name}.png')
    Image.new('L', (4, 4)).save(tmp_path / 'masks' / '3.png')
    with pytest.raises(PairError, match=r'0\.png: this mask has no image in .*images \(and 1 more\)'):
        SODDataset(str(tmp_path))
    # Files outside the range need not exist.
    for name, width in (('1', 8), ('10', 10)):
        Image.new('L', (width, 6)).save(tmp_path / 'masks' / f'{name}.png')
    assert len(SODDataset(str(tmp_path), stem_range=('1', '2'))) == 3


@pytest.mark.parametrize('listed', [dict(ann_file='list.txt'), dict(stem_range=('img', 'img_9'))])
@pytest.mark.parametrize(('kind', 'other'), [('image', 'mask'), ('mask', 'image')])
def test_no_file_has_a_counterpart(tmp_path, listed, kind, other):
    write_pairs(tmp_path, stems=('1', '2'))
    folder = tmp_path / f'{kind}s'
    for path in list(folder.iterdir()):
        path.rename(folder / f'img_{path.name}')
    (tmp_path / 'list.txt').write_text('img_1\nimg_2\n')
    message = rf'img_1\.(jpg|png): this {kind} has no {other} in .*{other}s \(and 1 more\)$'
    with pytest.raises(PairError, match=message):
        SODDataset(str(tmp_path), **listed)


def test_two_files_of_one_stem_are_refused(tmp_path):
    write_pairs(tmp_path)
    Image.new('RGB', (8, 6)).save(tmp_path / 'images' / '1.jpeg')
    with pytest.raises(PairError, match=r'images has two files for 1, both of the right size: 1\.jpeg and 1\.jpg'):
        SODDataset(str(tmp_path))
    Image.new('RGB', (4, 4)).save(tmp_path / 'images' / '1.jpeg')
    assert Path(SODDataset(str(tmp_path)).get_data_info(0)['img_path']).name == '1.jpg'


def test_duts_tr_with_two_masks_for_an_image(tmp_path):
    """A PNG file of another size, and a JPEG file of the right size."""
    masks = 'DUTS-TR/DUTS-TR-Mask'
    write_pairs(tmp_path, 'DUTS-TR/DUTS-TR-Image', masks, stems=('a', 'b'))
    full = np.full((6, 9), 255, np.uint8)
    Image.fromarray(full).save(tmp_path / masks / 'b.jpg')
    Image.new('L', (7, 5)).save(tmp_path / masks / 'b.png')
    options = dict(type='DUTSDataset', data_root=str(tmp_path), split='train', pipeline=PIPELINE)
    dataset = DATASETS.build(options)
    assert [Path(dataset.get_data_info(i)['seg_map_path']).name for i in range(2)] == ['a.png', 'b.jpg']
    assert dataset[1]['data_samples'].gt_sem_seg.data.eq(1).all()
    # Two masks of wrong size are ambiguous.
    Image.new('L', (6, 6)).save(tmp_path / masks / 'b.jpg')
    with pytest.raises(PairError, match=r'b\.jpg \(9 x 6\) and .*b\.jpg \(6 x 6\) or .*b\.png \(7 x 5\)'):
        DATASETS.build(dict(options, mismatch='resize'))
    assert len(DATASETS.build(dict(options, mismatch='skip'))) == 1


@pytest.fixture
def misfits(tmp_path):
    """Four pairs, two of them with masks of another size."""
    write_pairs(tmp_path, stems=('1', '2', '3', '4'))
    Image.new('L', (9, 7), 255).save(tmp_path / 'masks' / '2.png')
    mask = np.zeros((3, 22), np.uint8)
    mask[0] = 255
    Image.fromarray(mask).save(tmp_path / 'masks' / '4.png')
    return tmp_path


def test_masks_of_other_sizes_are_listed_when_the_set_is_built(misfits):
    with pytest.raises(PairError) as error:
        SODDataset(str(misfits))
    assert '2 of 4 images' in str(error.value) and "mismatch='skip'" in str(error.value)
    for stem, sizes in (('2', ('9 x 6', '9 x 7')), ('4', ('11 x 6', '22 x 3'))):
        image, mask = misfits / 'images' / f'{stem}.jpg', misfits / 'masks' / f'{stem}.png'
        assert f'{image} ({sizes[0]}) and {mask} ({sizes[1]})' in str(error.value)
    with pytest.raises(ValueError, match=r"mismatch must be one of \('error', 'skip', 'resize'\), not 'ignore'"):
        SODDataset(str(misfits), mismatch='ignore')


def test_masks_of_other_sizes_can_be_skipped(misfits, caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    try:
        dataset = SODDataset(str(misfits), mismatch='skip', pipeline=PIPELINE)
    finally:
        logger.removeHandler(caplog.handler)
    assert [Path(dataset.get_data_info(index)['img_path']).stem for index in range(len(dataset))] == ['1', '3']
    assert 'skips 2 of 4 images' in caplog.text and str(misfits / 'masks/4.png') in caplog.text
    with pytest.raises(PairError, match='2 of 2 images'):
        (misfits / 'list.txt').write_text('2\n4\n')
        SODDataset(str(misfits), ann_file='list.txt', mismatch='skip')


def test_masks_of_other_sizes_can_be_resized(misfits):
    dataset = SODDataset(str(misfits), mismatch='resize', pipeline=PIPELINE)
    assert len(dataset) == 4
    for index in range(4):
        sample = dataset[index]
        assert sample['data_samples'].gt_sem_seg.data.shape[1:] == sample['inputs'].shape[1:]
    # The upper third of a mask of 22 x 3 is the upper third of the image of 11 x 6.
    assert dataset[3]['data_samples'].gt_sem_seg.data[0].tolist() == 2 * [11 * [1]] + 4 * [11 * [0]]


def test_invalid_images_are_found_when_the_set_is_built(misfits):
    (misfits / 'images' / '1.jpg').write_text('no image')
    with pytest.raises(PairError, match=r'(?s)3 of 4 images.*1\.jpg: not an image'):
        SODDataset(str(misfits))
    with pytest.raises(PairError, match=r'1 of 4 images.*\n.*1\.jpg: not an image'):
        SODDataset(str(misfits), mismatch='resize')
    assert len(SODDataset(str(misfits), mismatch='skip')) == 1


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.tif', '.webp'])
def test_exif_orientation_is_applied_to_sizes(tmp_path, suffix):
    """The loader applies the EXIF orientation, unless color_type ignores it."""
    write_pairs(tmp_path, stems=('1',))
    (tmp_path / 'images' / '1.jpg').unlink()
    image = Image.new('RGB', (6, 8))
    exif = image.getexif()
    exif[274] = 6
    image.save(tmp_path / 'images' / f'1{suffix}', exif=exif)
    dataset = SODDataset(str(tmp_path), img_suffix=suffix, pipeline=PIPELINE)
    assert dataset[0]['inputs'].shape == (3, 6, 8)
    if suffix != '.tif':  # OpenCV always applies the orientation of TIFF
        ignoring = [dict(type='LoadImageFromFile', color_type='color_ignore_orientation'), *PIPELINE[1:]]
        with pytest.raises(PairError, match=r'\(6 x 8\) and .*1\.png \(8 x 6\)'):
            SODDataset(str(tmp_path), img_suffix=suffix, pipeline=ignoring)


def test_remote_files_are_checked_when_they_are_loaded(misfits, monkeypatch):
    """Reading a header would download the file."""
    monkeypatch.setattr('rescaps_plugin.saliency.datasets.sod.LocalBackend', int)
    dataset = SODDataset(str(misfits), pipeline=PIPELINE)
    with pytest.raises(ImageError, match=r'2\.png: the mask and its image .*2\.jpg differ in size: 9 x 7 and 9 x 6'):
        dataset[1]
    assert len(SODDataset(str(misfits), mismatch='skip')) == 2


GREYS = np.array([[0, 127], [128, 255]], np.uint8)
GRADIENT = [level for level in range(256) for _ in range(3)]


def palette_image(levels):
    image = Image.fromarray(levels, 'P')
    image.putpalette(GRADIENT)
    return image


@pytest.mark.parametrize(
    'image',
    [
        Image.fromarray(GREYS),
        Image.fromarray(np.dstack([GREYS] * 3)),
        Image.fromarray(np.dstack([*[GREYS] * 3, [[255, 0], [255, 0]]]).astype(np.uint8)),
        Image.fromarray(GREYS.astype(np.uint16) * 257),
        palette_image(GREYS),
        Image.fromarray(GREYS > 127),
    ],
    ids=['grey', 'RGB', 'RGBA', '16 bit', 'palette', '1 bit'],
)
def test_mask_formats(tmp_path, image):
    """Pixels above 127 are salient in every format."""
    image.save(tmp_path / 'mask.png')
    np.testing.assert_array_equal(read_mask(tmp_path / 'mask.png'), [[False, False], [True, True]])


@pytest.mark.parametrize('suffix', ['.png', '.tif', '.pgm'])
def test_levels_of_8_bits_in_16_are_refused(tmp_path, suffix):
    path = tmp_path / f'mask{suffix}'
    levels = np.kron(np.eye(2), np.ones((8, 8))).astype(np.uint16)
    message = rf'mask\{suffix}: greys 0 to 65535 .* of 16 bits, it has none above 255: save it with 8 bits'
    for level in (1, 255):
        cv2.imwrite(str(path), level * levels)
        for read in (read_grey, read_mask):
            with pytest.raises(ImageError, match=message):
                read(path)
    cv2.imwrite(str(path), 65535 * levels)
    np.testing.assert_array_equal(read_mask(path), levels)
    cv2.imwrite(str(path), 0 * levels)
    assert not read_mask(path).any()


def test_colours_and_alpha_of_16_bits_are_no_levels(tmp_path):
    """An opaque black image is empty, as its alpha channel is no grey."""
    path, black, opaque = str(tmp_path / 'mask.png'), np.zeros((4, 4), np.uint16), np.full((4, 4), 65535, np.uint16)
    cv2.imwrite(path, np.dstack([black, black, black, opaque]))
    assert not read_mask(path).any()
    cv2.imwrite(path, np.dstack([black + 255] * 3))
    with pytest.raises(ImageError, match='save it with 8 bits'):
        read_mask(path)


def test_masks_of_labels_or_colours_are_refused(tmp_path):
    path = tmp_path / 'mask.png'
    Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8)).save(path)
    with pytest.raises(ImageError, match=r'mask\.png: greys 0 to 255 are expected, it holds labels 0 and 1'):
        read_mask(path)
    Image.new('RGB', (3, 3), (128, 0, 0)).save(path)
    with pytest.raises(ImageError, match=r'mask\.png: .* it has colours, such as RGB \(128, 0, 0\)'):
        read_mask(path)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ImageError, match=r'mask\.png: truncated or damaged'):
        read_mask(path)


@pytest.mark.parametrize('level', [0, 255])
@pytest.mark.parametrize('size', [(5, 4), (1, 1)])
def test_empty_and_full_masks(tmp_path, level, size):
    for folder, mode in (('images', 'RGB'), ('masks', 'L')):
        (tmp_path / folder).mkdir()
        Image.new(mode, size, (level,) * 3 if mode == 'RGB' else level).save(
            tmp_path / folder / ('1.jpg' if mode == 'RGB' else '1.png')
        )
    sample = SODDataset(str(tmp_path), pipeline=PIPELINE)[0]
    assert sample['data_samples'].gt_sem_seg.data.unique().tolist() == [level // 255]


def test_load_annotations_of_mmseg_loads_the_same_labels(tmp_path):
    write_pairs(tmp_path, stems=('1',))
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8) * 5).save(tmp_path / 'masks' / '1.png')
    pipelines = [[PIPELINE[0], dict(type=kind), PIPELINE[2]] for kind in ('LoadSaliencyMask', 'LoadAnnotations')]
    ours, theirs = (SODDataset(str(tmp_path), pipeline=pipeline)[0]['data_samples'] for pipeline in pipelines)
    assert (ours.gt_sem_seg.data == theirs.gt_sem_seg.data).all() and ours.gt_sem_seg.data.sum() == 48 - 26


def test_pipeline_without_masks():
    """MMSegmentation's inferencer has no masks."""
    results = TRANSFORMS.build(dict(type='LoadSaliencyMask'))(dict(img_path='x.jpg'))
    assert results == dict(img_path='x.jpg')


def test_benchmark_of_several_sets(tmp_path):
    for name in ('first', 'second'):
        write_pairs(tmp_path / name)
    sets = {name: dict(type='SODDataset', data_root=str(tmp_path / name)) for name in ('first', 'second')}
    benchmark = SODBenchmark(sets, PIPELINE)
    assert [benchmark.get_data_info(index)['dataset'] for index in (0, 2, 3, 5)] == [
        'first',
        'first',
        'second',
        'second',
    ]
    assert benchmark[4]['data_samples'].gt_sem_seg.data.sum() > 0
    assert len(SODBenchmark(sets, use='second')) == 3 and len(SODBenchmark(sets, use=['second', 'first'])) == 6
    with pytest.raises(ValueError, match=r"use must name some of \['first', 'second'\], not 'third'"):
        SODBenchmark(sets, use='third')


def test_base_config_of_the_papers_data_sets(tmp_path, repository):
    """All data sets of duts.py in the layout of their archives, with one image each."""
    cfg = Config.fromfile(repository / 'configs/_base_/datasets/duts.py')
    dataset = cfg.test_dataloader.dataset
    for name, (kind, images, masks, suffix) in zip(
        dataset.sets, [(kind, *layout[1:]) for kind, layout in LAYOUTS.items()], strict=True
    ):
        assert dataset.sets[name].type == kind
        write_pairs(tmp_path / dataset.sets[name].data_root, images, masks, suffix)
        dataset.sets[name].data_root = str(tmp_path / dataset.sets[name].data_root)
    benchmark = DATASETS.build(dataset)
    assert len(benchmark) == 15
    assert benchmark[14]['data_samples'].metainfo['dataset'] == 'DUT-OMRON'


@pytest.mark.skipif(not ECSSD.is_dir(), reason='ECSSD is not in data/ECSSD')
def test_base_config_of_the_ecssd_split(repository):
    cfg = Config.fromfile(repository / 'configs/_base_/datasets/ecssd.py')
    train, test = (DATASETS.build(loader.dataset) for loader in (cfg.train_dataloader, cfg.test_dataloader))
    stems = [[Path(each.get_data_info(i)['img_path']).stem for i in (0, len(each) - 1)] for each in (train, test)]
    assert stems == [['0001', '0500'], ['0501', '0600']] and (len(train), len(test)) == (500, 100)
    assert test[0]['data_samples'].metainfo['dataset'] == 'ECSSD'


def test_synthetic_set_is_reproducible():
    first, again = (SyntheticSOD(split='train', num_images=6) for _ in range(2))
    other = SyntheticSOD(split='test', num_images=6)
    for index in (5, 0):
        info, same, different = (each.get_data_info(index) for each in (first, again, other))
        np.testing.assert_array_equal(info['img'], same['img'])
        np.testing.assert_array_equal(info['gt_seg_map'], same['gt_seg_map'])
        assert not np.array_equal(info['img'], different['img'])
    shapes = [first.get_data_info(index)['gt_seg_map'].shape for index in range(6)]
    assert len(set(shapes)) > 3 and all(80 <= side <= 128 for shape in shapes for side in shape)
    share = np.mean([first.get_data_info(index)['gt_seg_map'].mean() for index in range(6)])
    assert 0.02 < share < 0.4
    with pytest.raises(ValueError, match='sizes must be two numbers that rise'):
        SyntheticSOD(sizes=(64, 32))


def test_synthetic_set_is_learnable():
    """A linear model of pixel colours relative to the border classifies more than 90 % of the pixels."""

    def pixels(split, count):
        features, labels = [], []
        for index in range(count):
            info = SyntheticSOD(split=split, num_images=count).get_data_info(index)
            image = info['img'].astype(float) / 255
            border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]]).mean(axis=0)
            contrast = np.abs(image - border)
            span = image.max(axis=2) - image.min(axis=2)
            features.append(np.dstack([contrast, contrast.max(axis=2), span])[::4, ::4].reshape(-1, 5))
            labels.append(info['gt_seg_map'][::4, ::4].ravel())
        return np.concatenate(features), np.concatenate(labels)

    model = LogisticRegression(class_weight='balanced', max_iter=200).fit(*pixels('train', 10))
    features, labels = pixels('test', 5)
    predicted = model.predict(features)
    assert (predicted == labels)[labels == 1].mean() > 0.8 and (predicted == labels)[labels == 0].mean() > 0.9
