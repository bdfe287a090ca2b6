// NVRTC: a kernel's source becomes a shared object for the host, which CuPy keeps like a cubin.
#include <dlfcn.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include "device.h"

using pretended::note;
using std::string;

namespace {

enum NvrtcResult {
  NVRTC_SUCCESS = 0,
  NVRTC_ERROR_COMPILATION = 6,
  NVRTC_ERROR_NAME_EXPRESSION_NOT_VALID = 10,
  NVRTC_ERROR_INTERNAL = 11,
};

const char COMPILER[] = "g++";
const char FLAGS[] =
    " -O1 -std=c++17 -w -fPIC -shared -fvisibility=hidden -fno-math-errno -fpermissive";

struct Program {
  string source, log, binary;
  std::vector<string> expressions, lowered;
};

string read(const string &path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// This library lies in `lib`, and what kernels include in `include` beside that.
string library_path() {
  Dl_info info;
  dladdr(reinterpret_cast<void *>(library_path), &info);
  char *real = realpath(info.dli_fname, nullptr);
  string path(real);
  free(real);
  return path;
}

string include_path() {
  string path = library_path();
  return path.substr(0, path.rfind('/')) + "/../include";
}

bool holds_any(const string &source, std::initializer_list<const char *> words) {
  for (const char *word : words) {
    if (source.find(word) != string::npos) return true;
  }
  return false;
}

// Whether threads of a block wait for each other.
bool needs_fibers(const string &source) {
  return holds_any(source, {"__sync", "__shfl", "_sync("});
}

// Whether the loop, or a macro that it may use, returns, which leaves a thread's other elements.
bool returns_early(const string &source) {
  static const std::regex macro(R"(#\s*define(?:[^\n]*\\\n)*[^\n]*\breturn\b)");
  return source.find("return", source.find("CUPY_FOR")) != string::npos ||
         std::regex_search(source, macro);
}

// Whether it is CuPy's loop over all elements and nothing else, which one thread can run.
bool is_flat(const string &source) {
  return holds_any(source, {"CUPY_FOR"}) && !needs_fibers(source) && !returns_early(source) &&
         !holds_any(source, {"threadIdx", "blockIdx", "blockDim", "gridDim", "__shared__"});
}

// An array whose size only the launch tells becomes a pointer to memory of the launch.
string with_dynamic_shared_memory(const string &source) {
  static const std::regex array(
      R"(extern\s+__shared__\s+(?:__align__\(\d+\)\s*)?([\w :<>,]+?)\s+(\w+)\s*\[\s*\])");
  return std::regex_replace(source, array, "$1 *$2 = ($1 *)pretended_dynamic_shared");
}

// The kernels of C's names: each marked extern "C", or all where a block of them is.
std::vector<string> kernels_of(const string &source) {
  static const std::regex block(R"(extern\s+"C"\s*\{)");
  static const std::regex kernel(
      R"((extern\s+"C"\s+)?__global__\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?)"
      R"(void\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)\s*\()");
  bool all = std::regex_search(source, block);
  std::vector<string> names;
  for (std::sregex_iterator at(source.begin(), source.end(), kernel), end; at != end; ++at) {
    if (all || (*at)[1].matched) names.push_back((*at)[2]);
  }
  return names;
}

// What tells the driver of each kernel how it is called.
string exports(const Program &program) {
  string how = string(", ") + (is_flat(program.source) ? "1" : "0") + ", " +
               (needs_fibers(program.source) ? "1" : "0") + ")\n";
  std::stringstream text;
  for (const string &name : kernels_of(program.source)) {
    text << "PRETENDED_EXPORT(" << name << ", " << name << how;
  }
  for (size_t i = 0; i < program.expressions.size(); ++i) {
    string name = "pretended_expression_" + std::to_string(i);
    text << "static constexpr auto " << name << " = &" << program.expressions[i] << ";\n"
         << "PRETENDED_EXPORT_POINTER(" << program.lowered[i] << ", " << name << how;
  }
  return text.str();
}

// Of NVRTC's options only those mean something to another compiler.
string flags_of(int count, const char **options) {
  string flags;
  for (int i = 0; i < count; ++i) {
    string option = options[i];
    if (option.rfind("-I", 0) == 0 || option.rfind("-D", 0) == 0) flags += " '" + option + "'";
  }
  return flags;
}

bool keeps_what_fails() { return pretended::setting("EMU_KEEP", 0) != 0; }

void remove_folder(const string &folder) {
  for (const char *file : {"/kernel.cpp", "/kernel.so", "/log", ""}) {
    remove((folder + file).c_str());
  }
}

NvrtcResult compile(Program &program, const string &flags) {
  char made[] = "/tmp/pretended-compile-XXXXXX";
  if (!mkdtemp(made)) return NVRTC_ERROR_INTERNAL;
  string folder = made;
  {
    std::ofstream file(folder + "/kernel.cpp");
    file << "#line 1 \"kernel\"\n"
         << with_dynamic_shared_memory(program.source) << "\n"
         << exports(program);
  }
  string command = string(COMPILER) + FLAGS + " -include pretended_prelude.h -I'" +
                   include_path() + "'" + flags + " '" + folder + "/kernel.cpp' -o '" + folder +
                   "/kernel.so' >'" + folder + "/log' 2>&1";
  bool failed = system(command.c_str()) != 0;
  program.log = read(folder + "/log");
  if (!failed) program.binary = read(folder + "/kernel.so");
  if (failed && keeps_what_fails()) {
    fprintf(stderr, "pretended GPU: %s\n%s\n", command.c_str(), program.log.c_str());
  } else {
    remove_folder(folder);
  }
  return failed ? NVRTC_ERROR_COMPILATION : NVRTC_SUCCESS;
}

// CuPy asks for the PTX of an empty source to learn of the compiler, for the keys of its cache.
string version() {
  string all = string(COMPILER) + FLAGS;
  for (const char *file : {"pretended_device.h", "pretended_prelude.h", "launch.h"}) {
    all += read(include_path() + "/" + file);
  }
  all += read(library_path());
  return "// pretended " + std::to_string(std::hash<string>()(all)) + "\n";
}

Program *of(void *handle) { return static_cast<Program *>(handle); }

}  // namespace

CUDA_API const char *nvrtcGetErrorString(int error) {
  if (error == NVRTC_SUCCESS) return "NVRTC_SUCCESS";
  return error == NVRTC_ERROR_COMPILATION ? "NVRTC_ERROR_COMPILATION" : "NVRTC_ERROR_INTERNAL";
}

CUDA_API int nvrtcVersion(int *major, int *minor) {
  *major = 13;
  *minor = 0;
  return NVRTC_SUCCESS;
}

CUDA_API int nvrtcCreateProgram(void **program, const char *source, const char *, int,
                                const char **, const char **) {
  *program = new Program{source, "", "", {}, {}};
  return NVRTC_SUCCESS;
}

CUDA_API int nvrtcDestroyProgram(void **program) {
  delete of(*program);
  *program = nullptr;
  return NVRTC_SUCCESS;
}

CUDA_API int nvrtcAddNameExpression(void *program, const char *expression) {
  of(program)->lowered.push_back("expression_" + std::to_string(of(program)->lowered.size()));
  of(program)->expressions.push_back(expression);
  return NVRTC_SUCCESS;
}

CUDA_API int nvrtcGetLoweredName(void *program, const char *expression, const char **name) {
  for (size_t i = 0; i < of(program)->expressions.size(); ++i) {
    if (of(program)->expressions[i] != expression) continue;
    *name = of(program)->lowered[i].c_str();
    return NVRTC_SUCCESS;
  }
  return NVRTC_ERROR_NAME_EXPRESSION_NOT_VALID;
}

CUDA_API int nvrtcCompileProgram(void *program, int count, const char **options) {
  if (of(program)->source.empty()) return NVRTC_SUCCESS;
  NvrtcResult result = compile(*of(program), flags_of(count, options));
  note("a kernel is compiled");
  return result;
}

CUDA_API int nvrtcGetCUBINSize(void *program, size_t *bytes) {
  *bytes = of(program)->binary.size();
  return NVRTC_SUCCESS;
}

CUDA_API int nvrtcGetCUBIN(void *program, char *out) {
  memcpy(out, of(program)->binary.data(), of(program)->binary.size());
  return NVRTC_SUCCESS;
}

CUDA_API int nvrtcGetPTXSize(void *, size_t *bytes) {
  *bytes = version().size() + 1;
  return NVRTC_SUCCESS;
}

CUDA_API int nvrtcGetPTX(void *, char *out) {
  strcpy(out, version().c_str());
  return NVRTC_SUCCESS;
}

CUDA_API int nvrtcGetLTOIRSize(void *, size_t *) { return NVRTC_ERROR_INTERNAL; }

CUDA_API int nvrtcGetLTOIR(void *, char *) { return NVRTC_ERROR_INTERNAL; }

CUDA_API int nvrtcGetProgramLogSize(void *program, size_t *bytes) {
  *bytes = of(program)->log.size() + 1;
  return NVRTC_SUCCESS;
}

CUDA_API int nvrtcGetProgramLog(void *program, char *out) {
  memcpy(out, of(program)->log.c_str(), of(program)->log.size() + 1);
  return NVRTC_SUCCESS;
}

CUDA_API int nvrtcGetNumSupportedArchs(int *count) {
  *count = 1;
  return NVRTC_SUCCESS;
}

CUDA_API int nvrtcGetSupportedArchs(int *architectures) {
  *architectures = 90;
  return NVRTC_SUCCESS;
}
