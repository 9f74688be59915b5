#define PYRANK_ISA avx2
#include "instance.h"
