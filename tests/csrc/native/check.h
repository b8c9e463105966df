// What the test programs of csrc/cpu/simd share: arrays that the address sanitizer bounds to the element, poison,
// random numbers, and comparisons that a NaN cannot pass.
#pragma once
#include <cmath>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <vector>

namespace check {

inline int failures = 0;

// Count and print a failure where `ok` is false.
__attribute__((format(printf, 2, 3))) inline bool expect(bool ok, const char* format, ...) {
  if (ok) return true;
  ++failures;
  if (failures > 40) return false;
  va_list args;
  va_start(args, format);
  std::printf("FAIL ");
  std::vprintf(format, args);
  std::printf("\n");
  va_end(args);
  return false;
}

// What main returns.
inline int finish(const char* program) {
  std::printf("%s: %d failures\n", program, failures);
  return failures ? 1 : 0;
}

// Numbers that look random and are the same in every run.
struct Random {
  std::uint64_t state;
  explicit Random(std::uint64_t seed) : state(seed * 0x9e3779b97f4a7c15u + 1) {}
  double uniform() {  // in [-1, 1)
    state += 0x9e3779b97f4a7c15u;
    std::uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return double((z ^ (z >> 31)) >> 11) / double(std::uint64_t(1) << 52) - 1;
  }
};

// n numbers in [middle - size, middle + size).
template <class T>
std::vector<T> random(std::int64_t n, std::uint64_t seed, double size = 1, double middle = 0) {
  Random source(seed);
  std::vector<T> made(n);
  for (T& value : made) value = T(middle + size * source.uniform());
  return made;
}

// n NaNs: whoever reads one before writing it shows it.
template <class T>
std::vector<T> poisoned(std::int64_t n) {
  return std::vector<T>(n, std::numeric_limits<T>::quiet_NaN());
}

// ||got - want|| / ||want||, and ||got|| where want is all zero.
template <class T, class U>
double distance(const T* got, const U* want, std::int64_t n) {
  double apart = 0, size = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    apart += (double(got[i]) - double(want[i])) * (double(got[i]) - double(want[i]));
    size += double(want[i]) * double(want[i]);
  }
  return size > 0 ? std::sqrt(apart / size) : std::sqrt(apart);
}

// Hold an array to a tolerance on `distance`.
template <class T, class U>
bool close(const T* got, const U* want, std::int64_t n, double tolerance, const char* what) {
  const double found = distance(got, want, n);
  return expect(found <= tolerance, "%s: relative distance %.3g, expected at most %.3g", what, found, tolerance);
}
template <class T, class U>
bool close(const std::vector<T>& got, const std::vector<U>& want, double tolerance, const char* what) {
  if (!expect(got.size() == want.size(), "%s: %zu values, expected %zu", what, got.size(), want.size())) return false;
  return close(got.data(), want.data(), std::int64_t(got.size()), tolerance, what);
}

// The tolerance of a type.
template <class T>
double tolerance(double in_float, double in_double = 1e-12) {
  return sizeof(T) == 4 ? in_float : in_double;
}
template <class T>
const char* name() {
  return sizeof(T) == 4 ? "float" : "double";
}

}  // namespace check
