// How the wide convolution (conv_wide.cuh) is cut: tiles of an image, a group's copy of one in shared memory, and which
// part of it each warp and lane has.
#pragma once
#include "conv.cuh"
#include "mma.cuh"

namespace aafast {

constexpr int kGroupWarps = 4, kGroupThreads = kGroupWarps * kWarp;
constexpr int kTileLines = 8, kTileLength = 16;
static_assert(kTileLines * kTileLength == kGroupThreads, "a thread asks for a pixel");
constexpr int kHaloLines = kTileLines + 2, kHaloLength = kTileLength + 2, kHaloPixels = kHaloLines * kHaloLength;

template <Arithmetic A, int C>
struct WideShape {
  using T = Storage<A>;
  static constexpr int kPixelBytes = C * int(sizeof(T));
  static constexpr int kChunks = kPixelBytes / 16;     // of 16 bytes
  static constexpr int kLaneChannels = 16 / int(sizeof(T));
  static constexpr bool kSwizzled = kChunks % 8 == 0;
  static constexpr int kStride = kSwizzled ? kPixelBytes : kPixelBytes + 16;
  static constexpr int kHaloBytes = kHaloPixels * kStride;

  // How a group's warps share a tile: kAcross over the output channels, the others over its lines.
  static constexpr int kAcross = C == 64 ? 2 : 1, kDown = kGroupWarps / kAcross;
  static constexpr int kOwnLines = kTileLines / kDown;
  static constexpr int kWidth = C / kAcross;     // a warp's output channels
  static constexpr int kColumns = kWidth / 8;    // its tiles of 8 columns
  static constexpr int kOwn = 2 * kColumns;      // a lane's adjacent output channels
  static constexpr int kBlocks = kPixelBytes / 32;  // steps over the input channels
  static constexpr int kStepBytes = kWidth * 32 * kAcross;  // of the weights of one step and tap

  // Weights that would fill the shared memory go through it in parts, three taps and half of the input channels each,
  // one computed while the next arrives; all groups then go in step.
  static constexpr bool kStreamed = sizeof(T) == 4 && C >= 48;
  static constexpr int kPartSteps = kBlocks / 2;
  static constexpr int kTapBytes = kBlocks * kStepBytes;
  static constexpr int kPieceBytes = kPartSteps * kStepBytes, kPartBytes = 3 * kPieceBytes, kParts = 6;
  static constexpr int kWeightBytes = kStreamed ? 2 * kPartBytes : 9 * kTapBytes;

  static constexpr int kGroups = C >= 32 ? 3 : 4;        // at most; fewer have more registers each
  static constexpr int kTeam = kGroupThreads / kChunks;  // pixels that a group copies at a time
  static constexpr int kCopies = (kHaloPixels + kTeam - 1) / kTeam;  // chunks of a thread
  static_assert(kCopies <= 32, "a bit for each says whether it lies inside the image");
};

// How an image is cut. `lines` x `length` pixels, of which a tile has 8 x 16; steps in pixels to the next line and to
// the next pixel of a line; steps in taps likewise.
struct Cut {
  int lines, length, line_step, pixel_step, line_tap, pixel_tap, tiles_down, tiles_along;
  int tiles() const { return tiles_down * tiles_along; }
};

inline Cut cut(Image image) {
  const auto along = [](int lines, int length, bool rows) {
    const int width = rows ? length : lines;
    return Cut{lines, length, rows ? width : 1, rows ? 1 : width, rows ? 3 : 1, rows ? 1 : 3,
               int(divide_up(lines, kTileLines)), int(divide_up(length, kTileLength))};
  };
  // What the tensor cores do: whole 16 pixels of a line, and 4 lines, which is what a warp has of 64 channels.
  const auto work = [](const Cut& c) { return divide_up(c.lines, 4) * 4 * i64(c.tiles_along) * kTileLength; };
  const Cut rows = along(image.height, image.width, true), columns = along(image.width, image.height, false);
  return work(columns) < work(rows) ? columns : rows;
}

template <Arithmetic A>
struct WideWork {
  WideSource<A> source;
  WideTarget<A> target;
  Batched<const char> packed;
  const std::int8_t* status;
  Cut cut;
  int blocks;   // of a sample
  int buffers;  // halos of a group, 1 or 2
};

// Byte in a halo of a pixel's chunk of 16 bytes.
template <class S>
__device__ __forceinline__ int place(int pixel, int along, int chunk) {
  return pixel * S::kStride + (S::kSwizzled ? chunk ^ (along & 7) : chunk) * 16;
}

// A tile's corner.
struct Corner {
  int line, along;
  __device__ Corner(const Cut& c, int tile)
      : line(tile / c.tiles_along * kTileLines), along(tile % c.tiles_along * kTileLength) {}
};

}  // namespace aafast
