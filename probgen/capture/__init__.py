"""Functions recorded as graphs, held against the eager ones, run as is, compiled, or as CUDA graphs.

``fit`` runs a loss by :class:`captured_loss.CapturedLoss`, so that Pyro's Python runs at capture alone. A
graph is made by ``traced_function.py`` and ``loss_graph.py``, belongs to what Python's state was then
(``python_state.py``), is compared with the eager loss, its gradients and buffers (``comparison.py``), and is
given up with one warning where the two differ. Read first ``captured_loss.py``, then ``modes.py``, which says
when a graph pays.
"""
