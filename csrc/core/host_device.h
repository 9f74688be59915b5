// Functions marked PYRANK_HD compile for the host and, under nvcc, for the device.
#pragma once

#ifdef __CUDACC__
#define PYRANK_HD __host__ __device__
#else
#define PYRANK_HD
#endif
