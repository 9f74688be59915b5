// Tensors cross the binding as DLPack capsules (the exchange format of array libraries, dmlc/dlpack, version 0.8), and
// are checked here once: dtype, device, shape, contiguity.
#pragma once
#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>
#include <vector>

namespace pyrank::bindings {

namespace py = pybind11;

struct DLDevice {
    int32_t device_type;
    int32_t device_id;
};
struct DLDataType {
    uint8_t code, bits;
    uint16_t lanes;
};
struct DLTensor {
    void* data;
    DLDevice device;
    int32_t ndim;
    DLDataType dtype;
    int64_t* shape;
    int64_t* strides;
    uint64_t byte_offset;
};
struct DLManagedTensor {
    DLTensor dl_tensor;
    void* manager_ctx;
    void (*deleter)(DLManagedTensor*);
};

template <class T>
constexpr DLDataType type_code{};
template <>
constexpr DLDataType type_code<float>{2, 32, 1};
template <>
constexpr DLDataType type_code<double>{2, 64, 1};
template <>
constexpr DLDataType type_code<int64_t>{0, 64, 1};
template <>
constexpr DLDataType type_code<int32_t>{0, 32, 1};

inline int64_t size_of(const DLTensor& tensor) {
    int64_t size = 1;
    for (int k = 0; k < tensor.ndim; ++k) size *= tensor.shape[k];
    return size;
}

inline bool is_contiguous(const DLTensor& tensor) {
    if (!tensor.strides || !size_of(tensor)) return true;
    int64_t expected = 1;
    for (int k = tensor.ndim - 1; k >= 0; --k) {
        if (tensor.shape[k] != 1 && tensor.strides[k] != expected) return false;
        expected *= tensor.shape[k];
    }
    return true;
}

// The tensor in a capsule.
inline const DLTensor& tensor_in(const py::object& capsule) {
    auto* managed = static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor"));
    if (!managed) throw py::error_already_set();
    return managed->dl_tensor;
}

inline void* data_of(const DLTensor& tensor) { return static_cast<char*>(tensor.data) + tensor.byte_offset; }

// A borrowed view: the capsule stays the caller's, so the memory lives at least as long as the call.
class Tensor {
public:
    Tensor(const py::object& object, const char* name, bool may_be_on_gpu = false) : name_(name) {
        // one name for ever: Python's cache of attributes keeps a reference to each new one it is asked with
        static const py::handle dlpack = PyUnicode_InternFromString("__dlpack__");
        py::object capsule = py::hasattr(object, dlpack) ? object.attr(dlpack)() : object;
        capsule_ = capsule;
        tensor_ = &tensor_in(capsule);
        const bool on_gpu = tensor_->device.device_type == 2;
        check(tensor_->device.device_type == 1 || (on_gpu && may_be_on_gpu), "a tensor in CPU memory");
        check(is_contiguous(*tensor_), "a contiguous tensor");
    }

    template <class T>
    T* data(const std::vector<int64_t>& shape) const {
        constexpr DLDataType wanted = type_code<T>;
        check(tensor_->dtype.code == wanted.code && tensor_->dtype.bits == wanted.bits && tensor_->dtype.lanes == 1,
              std::string(wanted.code == 2 ? "float" : "int") + std::to_string(wanted.bits));
        std::string text = "shape (";
        bool same = tensor_->ndim == int32_t(shape.size());
        for (size_t k = 0; k < shape.size(); ++k) {
            text += (k ? ", " : "") + std::to_string(shape[k]);
            same = same && tensor_->shape[k] == shape[k];
        }
        check(same, text + ")");
        return static_cast<T*>(data_of(*tensor_));
    }

    bool is_double() const { return tensor_->dtype.code == 2 && tensor_->dtype.bits == 64; }
    int64_t size(int k) const {
        check(k < tensor_->ndim, "more dimensions");
        return tensor_->shape[k];
    }

private:
    void check(bool condition, const std::string& wanted) const {
        if (!condition) throw py::value_error(std::string(name_) + ": expected " + wanted);
    }

    const char* name_;
    py::object capsule_;
    const DLTensor* tensor_;
};

}  // namespace pyrank::bindings
