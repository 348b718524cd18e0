// Labels a picture with a package that `segkit export CHECKPOINT --to pt2 --with resize,argmax` wrote.
//
// Usage: aoti_predict MODEL.pt2 IN.ppm OUT.pgm    (binary PPM in, class numbers as binary PGM out)
//
// Build, with TORCH the folder that `python -c "import torch; print(torch.__path__[0])"` prints:
//   g++ -std=c++20 -O2 aoti_predict.cpp -o aoti_predict -I$TORCH/include -I$TORCH/include/torch/csrc/api/include \
//       -L$TORCH/lib -Wl,-rpath,$TORCH/lib -Wl,--no-as-needed -ltorch -ltorch_cpu -lc10

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>

// Reads a binary PPM of 8 bits as uint8 [1,3,H,W], RGB.
at::Tensor read_ppm(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string magic;
  int64_t width = 0, height = 0, largest = 0;
  file >> magic >> width >> height >> largest;
  if (!file || magic != "P6" || largest != 255 || width < 1 || height < 1 || width * height > (1 << 28))
    throw std::runtime_error(path + ": is no binary PPM of 8 bits");
  file.get();  // the single white space behind the header
  at::Tensor pixels = at::empty({height, width, 3}, at::kByte);
  if (!file.read(reinterpret_cast<char*>(pixels.data_ptr<uint8_t>()), pixels.numel()))
    throw std::runtime_error(path + ": ends too early");
  return pixels.permute({2, 0, 1}).unsqueeze(0).contiguous();
}

// Writes uint8 [H,W] as a binary PGM.
void write_pgm(const std::string& path, const at::Tensor& labels) {
  std::ofstream file(path, std::ios::binary);
  file << "P5\n" << labels.size(1) << " " << labels.size(0) << "\n255\n";
  file.write(reinterpret_cast<const char*>(labels.data_ptr<uint8_t>()), labels.numel());
  if (!file) throw std::runtime_error(path + ": cannot be written");
}

int main(int count, char** words) try {
  if (count != 4) {
    std::cerr << "usage: aoti_predict MODEL.pt2 IN.ppm OUT.pgm\n";
    return 2;
  }
  c10::InferenceMode guard;
  torch::inductor::AOTIModelPackageLoader model(words[1]);
  std::cout << model.get_metadata()["segkit"] << "\n";  // classes, palette and the rest, as JSON
  at::Tensor labels = model.run({read_ppm(words[2])}).at(0);  // [1,H,W]
  if (labels.dim() != 3) throw std::runtime_error("the graph gives no labels; export it --with resize,argmax");
  write_pgm(words[3], labels[0].to(at::kByte).contiguous());
  return 0;
} catch (const std::exception& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
