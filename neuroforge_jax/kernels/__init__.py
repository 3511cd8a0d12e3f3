"""Operations with a derivative rule of their own; later also their hand-written kernels."""
