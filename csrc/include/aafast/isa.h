// Which instruction set the vector code runs on.
#pragma once
#include <string>
#include <vector>

namespace aafast {

// The sets compiled in that this processor runs, widest first; "portable" is always the last.
std::vector<std::string> isa_names();

// Use no set above `name` from now on ("" or "auto": the widest). Returns false where it is none of isa_names().
bool select_isa(const std::string& name);

// The widest set in use.
std::string selected_isa();

}  // namespace aafast
