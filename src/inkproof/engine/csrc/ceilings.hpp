// What this machine's cores can do at best, one thread: the rates that the engine is held against.
#pragma once

#include <cstddef>

#include "half.hpp"

namespace inkproof {

// Floating-point operations a second of fused multiply-adds on registers alone; two each. factors:
// of what is multiplied; sums are of float32.
double multiply_add_rate(double seconds, Factors factors);

// Bytes a second over a block of so many bytes, a multiple of 1024, again and again: read, or read
// and written back, where both count.
double memory_rate(std::size_t bytes, double seconds, bool writes);

}  // namespace inkproof
