# Runs cargo, one crate type at a time: built together, they would lose link-time optimisation.
# Gives shmkit_shared and shmkit_static (paths, or empty when switched off), shmkit_private_libraries (what the static
# library needs beside it) and the targets shmkit_build_shmkit and shmkit_build_static. Never installs.

if(CMAKE_CROSSCOMPILING)
  message(FATAL_ERROR "shmkit: CMakeLists.txt builds for the machine it runs on; run cargo yourself to cross-compile")
endif()
find_program(SHMKIT_CARGO cargo PATHS "$ENV{CARGO_HOME}/bin" "$ENV{HOME}/.cargo/bin")
find_program(SHMKIT_RUSTC rustc PATHS "$ENV{CARGO_HOME}/bin" "$ENV{HOME}/.cargo/bin")
mark_as_advanced(SHMKIT_CARGO SHMKIT_RUSTC)
if(NOT SHMKIT_CARGO OR NOT SHMKIT_RUSTC)
  message(FATAL_ERROR
    "shmkit: no cargo and rustc were found: install Rust (https://rustup.rs), or set SHMKIT_CARGO and SHMKIT_RUSTC")
endif()

# Asks the compiler for the system libraries that Rust's standard library needs in a static library.
# The compiler driver of the final link adds libgcc_s and libc itself, in the form that suits -static or not.
function(shmkit_find_private_libraries result)
  set(empty "${CMAKE_CURRENT_BINARY_DIR}/empty")
  file(WRITE "${empty}.rs" "")
  execute_process(
    COMMAND "${SHMKIT_RUSTC}" --crate-type staticlib --print native-static-libs -o "${empty}.a" "${empty}.rs"
    WORKING_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}" OUTPUT_VARIABLE words ERROR_VARIABLE words RESULT_VARIABLE failed)
  file(REMOVE "${empty}.rs" "${empty}.a")
  if(failed OR NOT words MATCHES "native-static-libs: ([^\n]*)")
    message(FATAL_ERROR "shmkit: ${SHMKIT_RUSTC} did not name the libraries that a static library needs:\n${words}")
  endif()
  separate_arguments(libraries UNIX_COMMAND "${CMAKE_MATCH_1}")
  list(REMOVE_DUPLICATES libraries)
  list(REMOVE_ITEM libraries -lgcc_s -lc)
  set(${result} "${libraries}" PARENT_SCOPE)
endfunction()

# The command that makes `file` with cargo; further arguments are for rustc. Cargo's own list of sources says when to
# run it again; touched, because cargo leaves the file as it is when a change turns out to make no difference.
function(shmkit_cargo crate_type file)
  set(folder "${CMAKE_CURRENT_BINARY_DIR}/cargo/${crate_type}")
  add_custom_command(OUTPUT "${folder}/release/${file}"
    COMMAND "${CMAKE_COMMAND}" -E env --unset=CARGO_BUILD_TARGET "${SHMKIT_CARGO}" rustc --release --locked -p shmkit --lib
      --crate-type ${crate_type} --target-dir "${folder}" -- ${ARGN}
    COMMAND "${CMAKE_COMMAND}" -E touch "${folder}/release/${file}"
    DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/Cargo.toml" "${CMAKE_CURRENT_SOURCE_DIR}/Cargo.lock"
    DEPFILE "${folder}/release/libshmkit.d"
    WORKING_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}"
    COMMENT "shmkit: cargo builds ${file}" VERBATIM)
endfunction()

set(shmkit_library_folder "${CMAKE_CURRENT_BINARY_DIR}/lib")
file(MAKE_DIRECTORY "${shmkit_library_folder}")
set(shmkit_all "")
if(SHMKIT_INSTALL)
  set(shmkit_all ALL)
endif()

set(shmkit_shared "")
if(SHMKIT_SHARED)
  set(shmkit_shared "${shmkit_library_folder}/libshmkit.so.${PROJECT_VERSION}")
  shmkit_cargo(cdylib libshmkit.so -C strip=symbols)
  add_custom_command(OUTPUT "${shmkit_shared}"
    COMMAND "${CMAKE_COMMAND}" -E copy "${CMAKE_CURRENT_BINARY_DIR}/cargo/cdylib/release/libshmkit.so"
      "${shmkit_shared}"
    COMMAND "${CMAKE_COMMAND}" -E create_symlink libshmkit.so.${PROJECT_VERSION} libshmkit.so.${PROJECT_VERSION_MAJOR}
    COMMAND "${CMAKE_COMMAND}" -E create_symlink libshmkit.so.${PROJECT_VERSION_MAJOR} libshmkit.so
    DEPENDS "${CMAKE_CURRENT_BINARY_DIR}/cargo/cdylib/release/libshmkit.so"
    WORKING_DIRECTORY "${shmkit_library_folder}" VERBATIM
    COMMENT "shmkit: placing libshmkit.so.${PROJECT_VERSION}")
  add_custom_target(shmkit_build_shmkit ${shmkit_all} DEPENDS "${shmkit_shared}")
endif()

set(shmkit_static "")
if(SHMKIT_STATIC)
  set(shmkit_static "${shmkit_library_folder}/libshmkit.a")
  shmkit_find_private_libraries(shmkit_private_libraries)
  shmkit_cargo(staticlib libshmkit.a
    --print "native-static-libs=${CMAKE_CURRENT_BINARY_DIR}/cargo/staticlib/native-static-libs")
  add_custom_command(OUTPUT "${shmkit_static}"
    COMMAND "${CMAKE_COMMAND}" "-DINPUT=${CMAKE_CURRENT_BINARY_DIR}/cargo/staticlib/release/libshmkit.a"
      "-DOUTPUT=${shmkit_static}" -DPREFIX=shmkit_ "-DLINKER=${CMAKE_LINKER}" "-DOBJCOPY=${CMAKE_OBJCOPY}"
      "-DAR=${CMAKE_AR}" "-DNM=${CMAKE_NM}" -P "${CMAKE_CURRENT_SOURCE_DIR}/cmake/localize.cmake"
    DEPENDS "${CMAKE_CURRENT_BINARY_DIR}/cargo/staticlib/release/libshmkit.a"
      "${CMAKE_CURRENT_SOURCE_DIR}/cmake/localize.cmake"
    COMMENT "shmkit: keeping only shmkit_ symbols global in libshmkit.a" VERBATIM)
  add_custom_target(shmkit_build_static ${shmkit_all} DEPENDS "${shmkit_static}")
endif()

# The tool and the interposer are two packages; what the tool says of itself makes its man pages and completions.
set(shmkit_preload "")
if(SHMKIT_TOOL)
  # The tool looks for the interposer where both will be installed.
  include(GNUInstallDirs)
  set(shmkit_preload "${shmkit_library_folder}/libshmkit_preload.so")
  set(shmkit_tool "${CMAKE_CURRENT_BINARY_DIR}/bin/shmkit")
  set(folder "${CMAKE_CURRENT_BINARY_DIR}/cargo/tool")
  # Places in the crates that it is made of are named in its panics: not by the folders of this machine.
  set(home "$ENV{CARGO_HOME}")
  if(NOT home)
    set(home "$ENV{HOME}/.cargo")
  endif()
  add_custom_command(OUTPUT "${folder}/release/shmkit" "${folder}/release/libshmkit_preload.so"
    COMMAND "${CMAKE_COMMAND}" -E env --unset=CARGO_BUILD_TARGET "SHMKIT_LIBDIR=${CMAKE_INSTALL_LIBDIR}"
      "${SHMKIT_CARGO}" build --release --locked -p shmkit-cli -p shmkit-preload --target-dir "${folder}"
      --config "build.rustflags=['--remap-path-prefix=${home}=cargo']"
    COMMAND "${CMAKE_COMMAND}" -E touch "${folder}/release/shmkit" "${folder}/release/libshmkit_preload.so"
    DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/Cargo.toml" "${CMAKE_CURRENT_SOURCE_DIR}/Cargo.lock"
    DEPFILE "${folder}/release/shmkit.d"
    WORKING_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}"
    COMMENT "shmkit: cargo builds the tool and the interposer" VERBATIM)
  file(MAKE_DIRECTORY "${CMAKE_CURRENT_BINARY_DIR}/bin" "${CMAKE_CURRENT_BINARY_DIR}/share/completions")
  set(shmkit_pages "${CMAKE_CURRENT_BINARY_DIR}/share")
  add_custom_command(OUTPUT "${shmkit_tool}" "${shmkit_preload}" "${shmkit_pages}/man/shmkit.1"
    COMMAND "${CMAKE_COMMAND}" -E copy "${folder}/release/shmkit" "${shmkit_tool}"
    COMMAND "${CMAKE_COMMAND}" -E copy "${folder}/release/libshmkit_preload.so" "${shmkit_preload}"
    COMMAND "${shmkit_tool}" man "${shmkit_pages}/man"
    COMMAND "${shmkit_tool}" completions bash > "${shmkit_pages}/completions/shmkit"
    COMMAND "${shmkit_tool}" completions zsh > "${shmkit_pages}/completions/_shmkit"
    COMMAND "${shmkit_tool}" completions fish > "${shmkit_pages}/completions/shmkit.fish"
    DEPENDS "${folder}/release/shmkit" "${folder}/release/libshmkit_preload.so"
    COMMENT "shmkit: placing the tool, its pages and the interposer" VERBATIM)
  add_custom_target(shmkit_build_preload ${shmkit_all} DEPENDS "${shmkit_tool}" "${shmkit_preload}")
endif()
