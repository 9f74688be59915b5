from typing import Any

compiler: str
cuda_architectures: str

class Chain:
    def __init__(
        self,
        *,
        width: int,
        batch: int,
        gamma: float,
        skip: bool,
        law: int,
        weights: list[tuple[int, int, float, float]],
        activation: int,
        over_features: bool,
        recentre: bool,
        rescale: bool,
        whiten: bool,
        order: int,
        eps: float,
        alpha: float,
        beta: float,
        seed: int,
    ) -> None: ...

class _Backend:
    def advance(
        self,
        chain: Chain,
        state: Any,
        first_layer: int,
        layers: int,
        first_chain: int,
        observe_activation: bool,
        burn_in: int,
        every: int,
        measures: list[tuple[int, float]],
        moments: Any,
        histogram: Any,
        trace: Any,
        rank_index: Any,
        counters: Any,
    ) -> None: ...
    def measure(
        self,
        chain: Chain,
        state: Any,
        measures: list[tuple[int, float]],
        counters: Any,
        values: Any,
        samples_first: bool = False,
    ) -> None: ...
    def draw_weights(self, chain: Chain, layer: int, index: int, out: Any) -> None: ...

class Cpu(_Backend):
    def __init__(self, isa: str, layout: int = ..., threads: int = ...) -> None: ...
    def initial_normals(self, seed: int, layer: int, out: Any) -> None: ...

class Cuda(_Backend):
    def __init__(self, devices: list[int], streams: list[int], kernel: int = ...) -> None: ...
    def kernel_for(self, chain: Chain, twice: bool) -> int: ...

class Measurement:
    def __init__(self, options: Cpu, chain: Chain, measures: list[tuple[int, float]], twice: bool) -> None: ...
    def __call__(self, capsule: Any) -> list[float]: ...

def available_isas() -> list[str]: ...
def cuda_devices() -> list[tuple[str, int]]: ...
def accumulate(moments: Any, histogram: Any, trace: Any, rank_index: Any, values: Any, sample: int) -> None: ...
def philox(counter: list[int], key: int) -> list[int]: ...
