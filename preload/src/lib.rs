//! The interposer: `libshmkit_preload.so`.
