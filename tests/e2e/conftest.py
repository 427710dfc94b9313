"""Let failed checks of the shared helpers say what they compared."""

import pytest

pytest.register_assert_rewrite("tests.support.outcome", "tests.support.scene", "tests.support.truth")
