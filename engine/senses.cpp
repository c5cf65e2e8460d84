// Threads of the encoder of pictures. mtmd takes their number once, where a projector is loaded; here it is told before
// each picture, because somebody may be reading an answer meanwhile. mtmd.cpp calls this in the place of clip's own
// function, as overlay.cmake arranges.

#include "clip.h"

#include <atomic>

static std::atomic<int> threads{0};

// As clip_image_batch_encode, with as many threads as engine_encode_threads was told; `most` where it never was.
bool engine_encode(clip_ctx * context, int most, const clip_image_f32_batch * pictures, std::vector<float> & vectors) {
    const int told = threads;
    return clip_image_batch_encode(context, told ? told : most, pictures, vectors);
}

extern "C" __attribute__((visibility("default"))) void engine_encode_threads(int count) {
    threads = count;
}
