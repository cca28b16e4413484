"""A search from Python, cell by cell, on scikit-learn's digits: a minute, no download.

Editors that know `# %%` show it as a notebook (`jupytext --to ipynb examples/notebook.py` makes one).
"""

# %%
import torch
from sklearn.datasets import load_digits

import nas

# %% Search: the same name again goes on where this ended, here or with `nas search --name first-steps`.
study = nas.search(
    max_params=1000,
    dataset="digits",
    space="tiny_digits",
    name="first-steps",
    max_trials=8,
    epochs=6,
    num_seeds=2,
)
print(study.answer)

# %% What was found, as DataFrames.
front = study.front[["num_params", "test_accuracy", "test_spread", "seeds", "trial"]]
print(front)
print(study.trials.groupby("fate")["num_params"].describe())

# %% The same as a figure to move about in; `study` by itself shows a picture.
figure = study.figure()

# %% The network that answers, with its weights: images as they are in, logits out.
network = study.network()
images = torch.tensor(load_digits().images * 255 / 16).unsqueeze(1)  # (N, 1, 8, 8), 0 to 255
with torch.no_grad():
    right = network(images).argmax(dim=1) == torch.tensor(load_digits().target)
print(f"{sum(p.numel() for p in network.parameters()):,} parameters, {100 * right.float().mean():.1f} % of all digits")

# %% To take away, and to show around.
study.export("first_steps.py")
page = study.report()
print(page)

# %% Your own images: (train, test), each images uint8 (N, H, W) or (N, C, H, W) and labels, or a torchvision data set.
pixels, labels = images.to(torch.uint8), load_digits().target
ours = nas.search(
    max_params=500,
    dataset=((pixels[:1500], labels[:1500]), (pixels[1500:], labels[1500:])),
    space="tiny_digits",
    name="our-images",
    max_trials=3,
    epochs=2,
    num_seeds=1,
)
print(ours.answer)
