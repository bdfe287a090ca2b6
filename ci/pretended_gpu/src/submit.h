// How CuPy's own modules, which are linked to this library, give work to a stream as a kernel.
#pragma once
#include <functional>

namespace pretended {

__attribute__((visibility("default"))) int submit_kernel(void *stream, const char *name,
                                                         std::function<void()> work);

}  // namespace pretended
