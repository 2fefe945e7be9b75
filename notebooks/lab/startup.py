"""What kernels run first where torch isn't installed. Leaves no name behind."""

import importlib.util
import os

path = os.path.join(os.path.dirname(os.environ["PYTHONSTARTUP"]), "without_torch.py")
spec = importlib.util.spec_from_file_location("without_torch", path)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
get_ipython().ast_transformers.append(module.WithoutTorch())  # noqa: F821
del importlib, os, path, spec, module
