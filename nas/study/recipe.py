"""How the trials of a study are trained."""

from __future__ import annotations

import random
from dataclasses import replace

from nas.arch import Recipe
from nas.space import Genes, Space, recipe_of
from nas.study.settings import StudySettings


def trial_recipe(space: Space, settings: StudySettings, genes: Genes) -> Recipe:
    """Return the recipe that `genes` describe, with what the study itself says of them in place of the space's."""
    recipe = recipe_of(space, genes)
    own = {name: getattr(settings, name) for name in ("epochs", "class_weights", "augmentation_kind")}
    return replace(recipe, **{name: value for name, value in own.items() if value is not None})


def study_epochs(space: Space, settings: StudySettings) -> int:
    """Return the epochs of every training of the study."""
    return trial_recipe(space, settings, space.plain_genes).epochs


def training_seed(study_seed: int, number: int, what: str) -> int:
    """Return the seed of one training of a study, such as "trial", for trial `number`; the same on every machine."""
    return random.Random(f"{study_seed}:{number}:{what}").randrange(2**31)
