# Defines shmkit's targets, alike in a build tree (CMakeLists.txt) and in an installed copy (shmkitConfig.cmake).
# Never looks for files: the caller says where they are.
#
#   shmkit::shmkit         the shared library        shmkit::dropin         the same, for code that is not changed:
#   shmkit::preload        the interposer: $<TARGET_FILE:shmkit::preload> is for LD_PRELOAD, as `shmkit run` sets it
#   shmkit::static         the static library        shmkit::dropin_static  every C and C++ source that is compiled
#                                                    with it gets -include shmkit/dropin.h

# SHARED, STATIC and PRELOAD are paths, or empty where that library was not built. SCOPE is GLOBAL or empty.
function(shmkit_define_targets scope include shared static soname private_libraries preload)
  if(preload)
    add_library(shmkit::preload MODULE IMPORTED ${scope})
    set_target_properties(shmkit::preload PROPERTIES IMPORTED_LOCATION "${preload}")
  endif()
  if(shared)
    add_library(shmkit::shmkit SHARED IMPORTED ${scope})
    set_target_properties(shmkit::shmkit PROPERTIES IMPORTED_LOCATION "${shared}" IMPORTED_SONAME ${soname}
      INTERFACE_INCLUDE_DIRECTORIES "${include}")
    shmkit_define_dropin(shmkit::dropin shmkit::shmkit "${scope}")
  endif()
  if(static)
    add_library(shmkit::static STATIC IMPORTED ${scope})
    set_target_properties(shmkit::static PROPERTIES IMPORTED_LOCATION "${static}"
      IMPORTED_LINK_INTERFACE_LANGUAGES C INTERFACE_INCLUDE_DIRECTORIES "${include}"
      INTERFACE_LINK_LIBRARIES "${private_libraries}")
    shmkit_define_dropin(shmkit::dropin_static shmkit::static "${scope}")
  endif()
endfunction()

function(shmkit_define_dropin name library scope)
  add_library(${name} INTERFACE IMPORTED ${scope})
  set_target_properties(${name} PROPERTIES INTERFACE_LINK_LIBRARIES ${library}
    INTERFACE_COMPILE_OPTIONS "$<$<COMPILE_LANGUAGE:C,CXX>:SHELL:-include shmkit/dropin.h>")
endfunction()
