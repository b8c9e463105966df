// A solve as one launch: a graph whose WHILE node repeats a captured iteration until no sample runs, decided on the
// device by a kernel at the end of each turn.
#include "aafast/cuda_iteration.h"
#include "launch.cuh"

#if !defined(AAFAST_EMULATED) && defined(CUDART_VERSION) && CUDART_VERSION >= 12040
#define AAFAST_WITH_LOOPS 1
#else
#define AAFAST_WITH_LOOPS 0
#endif

namespace aafast {

#if AAFAST_WITH_LOOPS
namespace {

constexpr int kThreads = 256;
constexpr int kFirstDriver = 12040;  // with WHILE nodes

struct Loop {
  cudaGraphExec_t exec;
  int device;
};

// Owns a graph while it is built; what is instantiated from it stands by itself.
struct Draft {
  cudaGraph_t graph = nullptr;
  Draft() { check(cudaGraphCreate(&graph, 0), "making a graph"); }
  ~Draft() { cudaGraphDestroy(graph); }
  Draft(const Draft&) = delete;
  Draft& operator=(const Draft&) = delete;
};

// Whether there is another turn. `first`: none has been taken yet.
__global__ void __launch_bounds__(kThreads)
    turn_kernel(cudaGraphConditionalHandle handle, const std::int8_t* status, i64 batch, std::int32_t* turns, int most,
                bool first) {
  int running = 0;
  for (i64 b = threadIdx.x; b < batch; b += kThreads) running |= int(status[b] == 0);
  running = __syncthreads_or(running);
  if (threadIdx.x != 0) return;
  const int taken = first ? 0 : *turns + 1;
  *turns = taken;
  cudaGraphSetConditional(handle, running != 0 && taken < most ? 1 : 0);
}

cudaGraphNode_t add_turn(cudaGraph_t graph, const cudaGraphNode_t* after, cudaGraphConditionalHandle handle,
                         const std::int8_t* status, i64 batch, std::int32_t* turns, int most, bool first) {
  void* arguments[] = {&handle, &status, &batch, &turns, &most, &first};
  cudaKernelNodeParams params = {};
  params.func = reinterpret_cast<void*>(turn_kernel);
  params.gridDim = dim3(1);
  params.blockDim = dim3(kThreads);
  params.kernelParams = arguments;
  cudaGraphNode_t node;
  check(cudaGraphAddKernelNode(&node, graph, after, after ? 1 : 0, &params), "adding the test of a loop");
  return node;
}

}  // namespace

std::string graph_while_supported(int device) {
  int driver = 0;
  const cudaError_t asked = cudaDriverGetVersion(&driver);
  if (asked != cudaSuccess) return cudaGetErrorString(asked);
  if (driver == 0) return "no NVIDIA driver is loaded";
  if (driver < kFirstDriver)
    return "the driver supports CUDA " + std::to_string(driver / 1000) + "." + std::to_string(driver % 1000 / 10) +
           ", loops on the device begin with 12.4";
  const DeviceGuard guard(device);
  return "";
}

void* graph_while_build(void* body, const std::int8_t* status, i64 batch, std::int32_t* turns, int max_turns,
                        int device) {
  const DeviceGuard guard(device);
  const Draft draft;
  cudaGraphConditionalHandle handle;
  check(cudaGraphConditionalHandleCreate(&handle, draft.graph, 0, cudaGraphCondAssignDefault), "making a condition");
  const cudaGraphNode_t start = add_turn(draft.graph, nullptr, handle, status, batch, turns, max_turns, true);
  cudaGraphNodeParams params = {};
  params.type = cudaGraphNodeTypeConditional;
  params.conditional.handle = handle;
  params.conditional.type = cudaGraphCondTypeWhile;
  params.conditional.size = 1;
  cudaGraphNode_t loop;
#if CUDART_VERSION >= 13000
  check(cudaGraphAddNode(&loop, draft.graph, &start, nullptr, 1, &params), "adding a loop");
#else
  check(cudaGraphAddNode(&loop, draft.graph, &start, 1, &params), "adding a loop");
#endif
  const cudaGraph_t turn = params.conditional.phGraph_out[0];
  cudaGraphNode_t iteration;
  check(cudaGraphAddChildGraphNode(&iteration, turn, nullptr, 0, static_cast<cudaGraph_t>(body)),
        "adding the iteration to a loop");
  add_turn(turn, &iteration, handle, status, batch, turns, max_turns, false);
  cudaGraphExec_t exec;
  check(cudaGraphInstantiate(&exec, draft.graph, 0), "instantiating a loop");
  return new Loop{exec, device};
}

void graph_while_launch(void* loop, void* stream) {
  const Loop& known = *static_cast<Loop*>(loop);
  const DeviceGuard guard(known.device);
  check(cudaGraphLaunch(known.exec, static_cast<cudaStream_t>(stream)), "launching a loop");
}

void graph_while_destroy(void* loop) {
  Loop* known = static_cast<Loop*>(loop);
  const cudaError_t status = cudaGraphExecDestroy(known->exec);
  delete known;
  check(status, "destroying a loop");
}

#else

namespace {
const char* const kWithout = "aafast was built by a CUDA toolkit older than 12.4, where loops on the device begin";
}

std::string graph_while_supported(int) { return kWithout; }
void* graph_while_build(void*, const std::int8_t*, i64, std::int32_t*, int, int) { throw std::runtime_error(kWithout); }
void graph_while_launch(void*, void*) { throw std::runtime_error(kWithout); }
void graph_while_destroy(void*) { throw std::runtime_error(kWithout); }

#endif

}  // namespace aafast
