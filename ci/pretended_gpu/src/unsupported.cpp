// What CuPy's modules link to and no test needs: each call says that it is not there.
#include "device.h"

namespace {

const int CUDA = pretended::NotSupported;
const int CUBLAS = 15;  // CUBLAS_STATUS_NOT_SUPPORTED

int refuse(const char *name, int status) {
  pretended::note("%s: not pretended", name);
  return status;
}

}  // namespace

#define UNSUPPORTED(library, name) \
  CUDA_API int name() { return refuse(#name, library); }

// Arrays, textures and surfaces; memory shared between processes
UNSUPPORTED(CUDA, cudaCreateSurfaceObject)
UNSUPPORTED(CUDA, cudaCreateTextureObject)
UNSUPPORTED(CUDA, cudaDestroySurfaceObject)
UNSUPPORTED(CUDA, cudaDestroyTextureObject)
UNSUPPORTED(CUDA, cudaFreeArray)
UNSUPPORTED(CUDA, cudaGetChannelDesc)
UNSUPPORTED(CUDA, cudaGetTextureObjectResourceDesc)
UNSUPPORTED(CUDA, cudaGetTextureObjectTextureDesc)
UNSUPPORTED(CUDA, cudaIpcCloseMemHandle)
UNSUPPORTED(CUDA, cudaIpcGetEventHandle)
UNSUPPORTED(CUDA, cudaIpcGetMemHandle)
UNSUPPORTED(CUDA, cudaIpcOpenEventHandle)
UNSUPPORTED(CUDA, cudaIpcOpenMemHandle)
UNSUPPORTED(CUDA, cudaMalloc3DArray)
UNSUPPORTED(CUDA, cudaMallocArray)
UNSUPPORTED(CUDA, cudaMemcpy2DFromArray)
UNSUPPORTED(CUDA, cudaMemcpy2DFromArrayAsync)
UNSUPPORTED(CUDA, cudaMemcpy2DToArray)
UNSUPPORTED(CUDA, cudaMemcpy2DToArrayAsync)
UNSUPPORTED(CUDA, cudaMemcpy3D)
UNSUPPORTED(CUDA, cudaMemcpy3DAsync)

// Products and solvers of structured or many small matrices
UNSUPPORTED(CUBLAS, cublasCdgmm)
UNSUPPORTED(CUBLAS, cublasCgetrfBatched)
UNSUPPORTED(CUBLAS, cublasCgetriBatched)
UNSUPPORTED(CUBLAS, cublasCgetrsBatched)
UNSUPPORTED(CUBLAS, cublasCsscal_v2)
UNSUPPORTED(CUBLAS, cublasCsyrk_v2)
UNSUPPORTED(CUBLAS, cublasCtrsmBatched)
UNSUPPORTED(CUBLAS, cublasCtrsm_v2)
UNSUPPORTED(CUBLAS, cublasDdgmm)
UNSUPPORTED(CUBLAS, cublasDgetrfBatched)
UNSUPPORTED(CUBLAS, cublasDgetriBatched)
UNSUPPORTED(CUBLAS, cublasDgetrsBatched)
UNSUPPORTED(CUBLAS, cublasDsbmv_v2)
UNSUPPORTED(CUBLAS, cublasDsyrk_v2)
UNSUPPORTED(CUBLAS, cublasDtpttr)
UNSUPPORTED(CUBLAS, cublasDtrsmBatched)
UNSUPPORTED(CUBLAS, cublasDtrsm_v2)
UNSUPPORTED(CUBLAS, cublasDtrttp)
UNSUPPORTED(CUBLAS, cublasDzasum_v2)
UNSUPPORTED(CUBLAS, cublasIcamax_v2)
UNSUPPORTED(CUBLAS, cublasIcamin_v2)
UNSUPPORTED(CUBLAS, cublasIdamax_v2)
UNSUPPORTED(CUBLAS, cublasIdamin_v2)
UNSUPPORTED(CUBLAS, cublasIsamax_v2)
UNSUPPORTED(CUBLAS, cublasIsamin_v2)
UNSUPPORTED(CUBLAS, cublasIzamax_v2)
UNSUPPORTED(CUBLAS, cublasIzamin_v2)
UNSUPPORTED(CUBLAS, cublasScasum_v2)
UNSUPPORTED(CUBLAS, cublasSdgmm)
UNSUPPORTED(CUBLAS, cublasSgetrfBatched)
UNSUPPORTED(CUBLAS, cublasSgetriBatched)
UNSUPPORTED(CUBLAS, cublasSgetrsBatched)
UNSUPPORTED(CUBLAS, cublasSsbmv_v2)
UNSUPPORTED(CUBLAS, cublasSsyrk_v2)
UNSUPPORTED(CUBLAS, cublasStpttr)
UNSUPPORTED(CUBLAS, cublasStrsmBatched)
UNSUPPORTED(CUBLAS, cublasStrsm_v2)
UNSUPPORTED(CUBLAS, cublasStrttp)
UNSUPPORTED(CUBLAS, cublasZdgmm)
UNSUPPORTED(CUBLAS, cublasZdscal_v2)
UNSUPPORTED(CUBLAS, cublasZgetrfBatched)
UNSUPPORTED(CUBLAS, cublasZgetriBatched)
UNSUPPORTED(CUBLAS, cublasZgetrsBatched)
UNSUPPORTED(CUBLAS, cublasZsyrk_v2)
UNSUPPORTED(CUBLAS, cublasZtrsmBatched)
UNSUPPORTED(CUBLAS, cublasZtrsm_v2)
