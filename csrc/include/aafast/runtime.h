// What the CUDA half says about this machine.
#pragma once
#include <string>

namespace aafast {

// Devices that this module's code can run on, 0 where there is none; `reason` then says why.
int cuda_device_count(std::string& reason);

}  // namespace aafast
