"""The microscope: a widget in which a model is read and changed by clicking.

A desk (:mod:`.desk`) holds what is shown and knows no browser; :mod:`.widget` ties it to anywidget.
"""

from neoscope.views.microscope.widget import Microscope

__all__ = ["Microscope"]
