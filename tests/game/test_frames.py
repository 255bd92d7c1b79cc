import numpy as np

from tmrl_ray.game.frames import bgra_to_grey


def by_hand(bgra):
    blue, green, red = (bgra[..., channel].astype(np.int64) for channel in range(3))
    return ((blue * 1868 + green * 9617 + red * 4899 + 8192) >> 14).astype(np.uint8)


def test_grey_is_the_integer_formula_for_every_value_of_each_channel():
    ramp = np.arange(256, dtype=np.uint8)
    for channel in range(4):
        picture = np.zeros((16, 16, 4), np.uint8)
        picture[..., channel] = ramp.reshape(16, 16)
        np.testing.assert_array_equal(bgra_to_grey(picture), by_hand(picture))


def test_grey_is_the_integer_formula_for_any_picture_and_ignores_alpha():
    picture = np.random.default_rng(5).integers(0, 256, (61, 83, 4), dtype=np.uint8)
    grey = bgra_to_grey(picture)
    np.testing.assert_array_equal(grey, by_hand(picture))
    picture[..., 3] = 0
    np.testing.assert_array_equal(bgra_to_grey(picture), grey)


def test_white_stays_white_and_black_black():
    assert bgra_to_grey(np.full((7, 5, 4), 255, np.uint8)).tolist() == [[255] * 5] * 7
    assert not bgra_to_grey(np.zeros((7, 5, 4), np.uint8)).any()


def test_the_result_is_fresh_and_the_input_untouched():
    picture = np.random.default_rng(7).integers(0, 256, (11, 13, 4), dtype=np.uint8)
    before = picture.copy()
    grey = bgra_to_grey(picture)
    assert grey.flags.owndata or grey.base.flags.owndata
    assert grey.flags.c_contiguous and grey.flags.writeable and grey.dtype == np.uint8
    grey[:] = 0
    np.testing.assert_array_equal(picture, before)


def test_a_picture_that_is_not_contiguous_is_read_rightly():
    picture = np.random.default_rng(11).integers(0, 256, (22, 26, 4), dtype=np.uint8)
    for view in (picture[::-1], picture[:, ::2], picture[3:, 5:]):
        np.testing.assert_array_equal(bgra_to_grey(view), by_hand(view))
