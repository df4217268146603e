// Instead of NVRTC: compiles a kernel for the processor, into a library whose path it gives out as the PTX.
#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cctype>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>

namespace {

enum Result { SUCCESS = 0, INVALID_INPUT = 3, COMPILATION = 6 };

/// Every product and sum is rounded by itself, and what a kernel reads as another type is what lies there.
const char* const FLAGS = "-O1 -std=c++17 -shared -fPIC -w -ffp-contract=off -fno-strict-aliasing";

struct Program {
    std::string source, library, log;
};

/// The folder of this library, where the driver's is too.
std::string folder() {
    Dl_info info;
    dladdr(reinterpret_cast<void*>(&folder), &info);
    std::string path = info.dli_fname;
    return path.substr(0, path.rfind('/'));
}

uint64_t hash(const std::string& text) {  // FNV-1a
    uint64_t hash = 14695981039346656037u;
    for (unsigned char letter : text) hash = (hash ^ letter) * 1099511628211u;
    return hash;
}

/// The name before the parameters of the kernel, or nothing.
std::string kernel_name(const std::string& source) {
    size_t at = source.find("extern \"C\" __global__");
    size_t end = at == std::string::npos ? at : source.find(" (", at);
    if (end == std::string::npos) return {};
    size_t begin = end;
    while (isalnum(source[begin - 1]) || source[begin - 1] == '_') begin--;
    return source.substr(begin, end - begin);
}

/// The same for the processor: shared memory is the driver's, and a function of known name calls the kernel.
std::string adapted(std::string source, const std::string& name) {
    for (size_t at; (at = source.find("extern __shared__")) != std::string::npos;)
        source.erase(at, source.find('\n', at) - at);
    return source + "\nextern \"C\" void fiber_entry(void** arguments) { fiber_call(&" + name + ", arguments); }\n";
}

std::string quoted(const std::string& text) {
    std::string out = "'";
    for (char letter : text) out += letter == '\'' ? std::string("'\\''") : std::string(1, letter);
    return out + "'";
}

}  // namespace

extern "C" {

Result nvrtcVersion(int* major, int* minor) { return *major = 13, *minor = 0, SUCCESS; }
const char* nvrtcGetErrorString(Result result) { return result == COMPILATION ? "it does not compile" : "an error"; }

Result nvrtcCreateProgram(Program** program, const char* source, const char*, int, const char* const*,
                          const char* const*) {
    return *program = new Program{source, {}, {}}, SUCCESS;
}
Result nvrtcDestroyProgram(Program** program) {
    delete *program;
    return *program = nullptr, SUCCESS;
}

Result nvrtcCompileProgram(Program* program, int count, const char* const* options) {
    std::string name = kernel_name(program->source);
    if (name.empty()) return INVALID_INPUT;
    std::string kernels = folder() + "/kernels";
    mkdir(kernels.c_str(), 0777);
    char digest[17];
    snprintf(digest, sizeof digest, "%016llx", static_cast<unsigned long long>(hash(program->source)));
    program->library = kernels + "/" + digest + ".so";
    if (access(program->library.c_str(), R_OK) == 0) return SUCCESS;

    // Another process may be at the same: each has its own files, and a library appears whole.
    std::string own = kernels + "/" + digest + "." + std::to_string(getpid());
    std::ofstream(own + ".cpp") << adapted(program->source, name);
    std::string command = std::string("c++ ") + FLAGS;
    const std::string include = "--include-path=";
    for (int i = 0; i < count; i++)
        if (!strncmp(options[i], include.c_str(), include.size()))
            command += " -I" + quoted(options[i] + include.size());
    command += " " + quoted(own + ".cpp") + " -L" + quoted(folder()) + " -l:libcuda.so -o " + quoted(own) + " 2>" +
               quoted(own + ".log");
    bool done = system(command.c_str()) == 0 && rename(own.c_str(), program->library.c_str()) == 0;
    std::stringstream log;
    log << std::ifstream(own + ".log").rdbuf();
    program->log = log.str().substr(0, 4000);
    for (const char* end : {".cpp", ".log"}) unlink((own + end).c_str());
    return done ? SUCCESS : COMPILATION;
}

Result nvrtcGetPTXSize(Program* program, size_t* bytes) { return *bytes = program->library.size() + 1, SUCCESS; }
Result nvrtcGetPTX(Program* program, char* out) { return strcpy(out, program->library.c_str()), SUCCESS; }
Result nvrtcGetProgramLogSize(Program* program, size_t* bytes) { return *bytes = program->log.size() + 1, SUCCESS; }
Result nvrtcGetProgramLog(Program* program, char* out) { return strcpy(out, program->log.c_str()), SUCCESS; }

}  // extern "C"
