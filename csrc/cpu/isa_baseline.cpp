#define PYRANK_ISA baseline
#include "instance.h"
