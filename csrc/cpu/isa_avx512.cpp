#define PYRANK_ISA avx512
#include "instance.h"
